"""Compiled forms for tests, and a mask made the slow way."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from llguidance import LLMatcher

from server.structured_outputs.compiled import CompiledConstraint, Mask, Matcher
from server.structured_outputs.compiler import compile_constraint
from server.structured_outputs.constraint import read_constraint
from server.structured_outputs.limits import StructureLimits
from server.structured_outputs.masks import Masks, MaskThreads, MaskWork
from server.structured_outputs.vocabulary import Vocabulary

LIMITS = StructureLimits()
LETTERS = Vocabulary(
    [b"<end>", b"a", b"b", b"c", b"d", b"ab", b"ba", b"cc", b"dd", b" ", b"abc", b" a", b"x"],
    special=[0],
    ends=[0],
    drops_space=False,
)
"""The tokens of the engine's scripted runner; 0 is its end token."""


def compiled(vocabulary: Vocabulary = LETTERS, *, after_space: bool = False, **form: Any) -> CompiledConstraint:
    """A form as `structured_outputs` names it."""
    constraint = read_constraint({"structured_outputs": form})
    assert constraint is not None
    return compile_constraint(constraint, vocabulary, LIMITS, after_space=after_space)


def some_forms() -> list[CompiledConstraint]:
    """Forms of several kinds, compiled anew: the engine notes at each whether its masks come late."""
    return [
        compiled(regex="(ab|c)*d{2,3}"),
        compiled(regex="[abcd]{2,6}"),
        compiled(choice=["a", "ab", "abc d", "ccd"]),
        compiled(grammar='start: "a" start "b" | "c"'),
    ]


class HeldMasks(MaskThreads):
    """Masks of held forms come when the test says so. All others are waited for, so that nothing depends on time."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[CompiledConstraint] = set()
        self._gates: dict[CompiledConstraint, threading.Event] = {}
        self._held: set[Future[None] | None] = set()
        self._num_held: Counter[ThreadPoolExecutor] = Counter()

    def hold(self, form: CompiledConstraint) -> None:
        """Let no mask of a form come that is asked for from now on."""
        self._gates.setdefault(form, threading.Event())

    def release(self) -> None:
        """Let all come, those too that are asked for later."""
        for gate in self._gates.values():
            gate.set()
        wait({filling for filling in self._held if filling is not None})
        self._gates.clear(), self._held.clear(), self._num_held.clear()

    def wait_for(self, matchers: Iterable[Matcher], at_most_s: float) -> None:
        """Wait for all that are not held."""
        fillings = {one.compiled.filling for one in matchers} - self._held
        wait({filling for filling in fillings if filling is not None})

    def wait_for_one(self, at_most_s: float) -> None:
        """What is held does not come."""
        super().wait_for_one(0 if self._held else at_most_s)

    def _begin(self, threads: ThreadPoolExecutor, work: MaskWork, matchers: Sequence[Matcher]) -> None:
        forms = {one.compiled for one in matchers}
        gates = [self._gates[form] for form in forms if form in self._gates]

        def gated(matchers: Sequence[LLMatcher], masks: Masks) -> None:
            assert all(gate.wait(20) for gate in gates)
            if not self.failing.isdisjoint(forms):
                raise RuntimeError("a mask that a test made fail")
            work(matchers, masks)

        super()._begin(threads, gated, matchers)
        is_behind = self._num_held[threads] >= threads._max_workers
        self._num_held[threads] += bool(gates)
        if gates or is_behind:
            self._held.add(matchers[0].compiled.filling)


def schema_of(constraint: CompiledConstraint) -> Any:
    """The schema of a form that is one."""
    return json.loads(constraint.constraint.source)


def tokens_in(mask: Mask, num_tokens: int) -> list[int]:
    """The tokens that a mask allows."""
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), count=num_tokens, bitorder="little")).tolist()


def allowed_slowly(constraint: CompiledConstraint, so_far: Sequence[int], ends: frozenset[int]) -> list[int]:
    """The tokens that may follow, each tried on a matcher of its own."""
    vocabulary = constraint.vocabulary
    allowed = []
    for token_id in range(vocabulary.num_tokens):
        matcher = constraint.matcher(ends).matcher
        assert not so_far or matcher.consume_tokens(list(so_far))
        if token_id in vocabulary.special:
            if token_id in ends and matcher.is_accepting():
                allowed.append(token_id)
        elif matcher.validate_tokens([token_id]) == 1:
            allowed.append(token_id)
    return allowed


def walk(matcher: Matcher, tokens: Sequence[int]) -> list[list[int]]:
    """The tokens allowed before each of some tokens, and after the last."""
    num_tokens = matcher.compiled.vocabulary.num_tokens
    masks = [tokens_in(matcher.next_mask(), num_tokens)]
    for token_id in tokens:
        matcher.consume(token_id)
        if not matcher.is_complete:
            masks.append(tokens_in(matcher.next_mask(), num_tokens))
    return masks
