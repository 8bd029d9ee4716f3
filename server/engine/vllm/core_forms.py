"""The forms of answers in vLLM's process. Each is compiled as in the server, and masked by the same matcher.

The server compiled a form before it came here, and a matcher of its own follows every token (`generating.py`). So what
goes wrong here is found there: this side then lets every token pass, and never ends a request.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from server.engine.vllm.forms import constraint_of
from server.structured_outputs.compiled import Matcher
from server.structured_outputs.compiler import compile_constraint, compiling_thread
from server.structured_outputs.errors import MatcherFailed
from server.structured_outputs.kept import KeptForms
from server.structured_outputs.limits import StructureLimits
from server.structured_outputs.masks import MaskThreads
from server.structured_outputs.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_LIMITS = replace(StructureLimits(), max_first_mask_s=math.inf)
"""The server has measured the first mask, and a process that is busy shall not measure it otherwise."""


class CoreForms:
    """Forms over a model of `vocab_size` tokens. vLLM's manager takes it for its backend of structured outputs.

    Vocabularies are read from `folder`.
    """

    def __init__(self, folder: Path, vocab_size: int) -> None:
        self._folder = folder
        self._num_words = -(-vocab_size // 32)
        self._masks = MaskThreads()
        self._stale: list[Matcher] = []
        self._kept = KeptForms(_LIMITS)
        self._vocabularies: dict[str, Vocabulary] = {}

    def begin(self, described: dict[str, Any], end_token_ids: frozenset[int]) -> Future[CoreGrammar]:
        """Compile the form of an answer that `end_token_ids` end, on a thread of its own."""
        return self._thread.submit(self._begin, described, end_token_ids)

    def fill(self) -> None:
        """Begin to compute the next masks of all answers that went on, on a thread of its own."""
        self._masks.fill([matcher for matcher in self._stale if matcher.is_stale])
        self._stale.clear()

    def allocate_token_bitmask(self, max_num_seqs: int) -> torch.Tensor:
        """Masks `[max_num_seqs, num_words]` that allow every token."""
        return torch.full((max_num_seqs, self._num_words), -1, dtype=torch.int32)

    def destroy(self) -> None:
        """Nothing is held but memory."""

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return compiling_thread()

    def _begin(self, described: dict[str, Any], end_token_ids: frozenset[int]) -> CoreGrammar:
        try:
            matcher = self._matcher(described, end_token_ids)
        except Exception:  # vLLM's engine must not see it
            logger.exception("a form cannot be compiled")
            matcher = None
        return CoreGrammar(matcher, end_token_ids, self._stale.append)

    def _matcher(self, described: dict[str, Any], end_token_ids: frozenset[int]) -> Matcher:
        constraint, name = constraint_of(described), described["vocabulary"]
        digest = constraint.digest(f"{name} {described['after_space']}".encode())
        if (compiled := self._kept.get(digest)) is None:
            if name not in self._vocabularies:
                self._vocabularies[name] = Vocabulary.from_json((self._folder / name).read_text())
            vocabulary = self._vocabularies[name]
            compiled = compile_constraint(constraint, vocabulary, _LIMITS, after_space=described["after_space"])
            self._kept.keep(digest, compiled)
        return compiled.matcher(end_token_ids)


class CoreGrammar:
    """Where one answer stands, with the methods that vLLM's manager calls. Without `matcher` every token passes.

    `note_stale` gets the matcher when a new mask is needed.
    """

    def __init__(
        self, matcher: Matcher | None, end_token_ids: frozenset[int], note_stale: Callable[[Matcher], None]
    ) -> None:
        self._matcher = matcher
        self._end_token_ids = end_token_ids
        self._note_stale = note_stale

    def is_terminated(self) -> bool:
        """Whether every token passes: the answer has ended, or the server will see that it left its form."""
        return self._matcher is None

    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
        """Go on by tokens that were sampled."""
        for token_id in tokens:
            self._accept(token_id)
        if self._matcher is not None:
            self._note_stale(self._matcher)
        return True

    def fill_bitmask(self, bitmask: torch.Tensor, index: int) -> None:
        """Write the mask of the next token into a row of `[max_num_seqs, num_words]`."""
        row = bitmask[index]
        try:
            assert self._matcher is not None
            mask = self._matcher.next_mask()
        except MatcherFailed:
            self._matcher = None
            row.fill_(-1)
        else:
            row.copy_(torch.from_numpy(mask[: len(row)]))

    def _accept(self, token_id: int) -> None:
        if self._matcher is None:
            return
        try:
            if token_id not in self._end_token_ids:
                self._matcher.consume(token_id)
        except MatcherFailed:
            self._matcher = None
        else:
            if token_id in self._end_token_ids or self._matcher.is_complete:
                self._matcher = None
