"""A compiled form, and where one answer stands in it."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from server.structured_outputs.constraint import Constraint
from server.structured_outputs.errors import MatcherFailed
from server.structured_outputs.vocabulary import Vocabulary

NO_TOKEN = "no token of the base model can continue the answer in its form"
TOO_COMPLEX = "the answer's form has become too complex"

Mask = NDArray[np.int32]
"""`[num_words]`: bit i of word w stands for token 32 * w + i, and is 1 where the token may come next."""


def clear_bits(mask: Mask, token_ids: Collection[int]) -> None:
    """Forbid some tokens, in place."""
    bits = mask.view(np.uint8)
    for token_id in token_ids:
        bits[token_id >> 3] &= ~np.uint8(1 << (token_id & 7))


class CompiledConstraint:
    """A form, compiled for one vocabulary. Answers share it: each has a matcher of its own.

    `first_mask` is that of the first token. `after_space`: one space comes before the form. Once `has_failed`, its
    automaton has outgrown its bounds for all answers.

    All its answers share one lock in the library. So while a thread computes masks for some of them, none goes on. A
    form `is_late` whose latest masks were not there when a step wanted them.
    """

    def __init__(
        self,
        constraint: Constraint,
        vocabulary: Vocabulary,
        start: LLMatcher,
        first_mask: Mask,
        *,
        after_space: bool = False,
    ) -> None:
        self.constraint = constraint
        self.vocabulary = vocabulary
        self.after_space = after_space
        self.first_mask = first_mask
        self.has_failed = False
        self.filling: Future[None] | None = None
        self.is_late = False
        self._start = start

    @property
    def is_ready(self) -> bool:
        """Whether no thread computes its masks."""
        return self.filling is None or self.filling.done()

    def expect(self, filling: Future[None]) -> None:
        """A thread computes the next masks of some answers, until `filling` is done."""
        self.filling, self.is_late = filling, False

    def matcher(self, end_token_ids: Collection[int]) -> Matcher:
        """A matcher before the first token of an answer that `end_token_ids` end."""
        return Matcher(self, self._start.deep_copy(), frozenset(end_token_ids))


class Matcher:
    """Where one answer stands in its form. One thread at a time may use it.

    The end tokens of an answer are allowed exactly when it is complete so far: those of the base model that do not end
    this answer never, special tokens that do end it then too.
    """

    def __init__(self, compiled: CompiledConstraint, matcher: LLMatcher, end_token_ids: frozenset[int]) -> None:
        self.compiled = compiled
        self.matcher = matcher
        vocabulary = compiled.vocabulary
        self._without = vocabulary.ends - end_token_ids
        self._with = (end_token_ids - vocabulary.ends) & vocabulary.special
        self._mask = compiled.first_mask
        self.is_stale = False

    @property
    def num_words(self) -> int:
        """32-bit words of a mask."""
        return self.compiled.vocabulary.num_words

    @property
    def is_ready(self) -> bool:
        """Whether `next_mask` and `consume` wait for no thread."""
        return self.compiled.is_ready

    @property
    def sits_out(self) -> bool:
        """Whether a step has come too early for its mask, which is not there yet."""
        return self.compiled.is_late and not self.compiled.is_ready

    @property
    def is_complete(self) -> bool:
        """Whether the answer has its form and nothing can follow."""
        return self.matcher.is_stopped()

    def consume(self, token_id: int) -> None:
        """Go on by one token; a new mask is needed then. Raises `MatcherFailed` if the token is not allowed."""
        self._wait()
        if not self.matcher.consume_token(token_id):
            raise self._failed()
        self.is_stale = not self.matcher.is_stopped()

    def follow(self, token_id: int) -> None:
        """Go on by one token that another matcher of the form let pass. Raises `MatcherFailed` if this one does not.

        The other lets everything pass once no token may come, or once it has outgrown its bounds.
        """
        if token_id in self._without or not self.matcher.validate_tokens([token_id]):
            self.next_mask()  # raises where no token may come
            self.compiled.has_failed = True
            raise MatcherFailed(TOO_COMPLEX)
        self.consume(token_id)

    def expect(self, mask: Mask) -> None:
        """A thread fills the next mask; nothing else may use the matcher until the form is ready."""
        self._mask, self.is_stale = mask, False

    def next_mask(self) -> Mask:
        """The mask of the next token. Raises `MatcherFailed` if no token may come.

        Waits for the thread that fills it, and fills it itself where no thread was asked.
        """
        self._wait()
        if self.is_stale:
            self._mask, self.is_stale = np.zeros(self.num_words, np.int32), False
            self.matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if self.matcher.is_error():
            raise self._failed()
        mask = self._adjusted() if self._without or self._with else self._mask
        if not mask.any():
            raise MatcherFailed(NO_TOKEN)
        return mask

    def _wait(self) -> None:
        if self.compiled.filling is None:
            return
        try:
            self.compiled.filling.result()
        except Exception as error:
            self.compiled.has_failed = True
            raise MatcherFailed("the library could not say which tokens may come next") from error

    def _adjusted(self) -> Mask:
        mask = self._mask.copy()
        clear_bits(mask, self._without)
        if self.matcher.is_accepting():
            bits = mask.view(np.uint8)
            for token_id in self._with:
                bits[token_id >> 3] |= np.uint8(1 << (token_id & 7))
        return mask

    def _failed(self) -> MatcherFailed:
        if "NoExtensionBias" in self.matcher.get_error():
            return MatcherFailed(NO_TOKEN)
        self.compiled.has_failed = True
        return MatcherFailed(TOO_COMPLEX)
