"""Compiled forms for tests, and a mask made the slow way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from server.structured_outputs.compiled import CompiledConstraint, Mask, Matcher
from server.structured_outputs.compiler import compile_constraint
from server.structured_outputs.constraint import read_constraint
from server.structured_outputs.limits import StructureLimits
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
