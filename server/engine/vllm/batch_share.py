"""The share of batch requests beside live ones, as far as admission can hold it: vLLM computes both in one step.

While live sequences wait or run, tokens of batches run up a debt, and live tokens pay it off: so batches have at most
`share` of all tokens. A sequence that runs cannot be stopped. So while something is owed, none begins, and beside live
sequences at most as many run as is their share of the sequences, and at least one. With a share of 0, none begins
beside a live sequence. Without live sequences nothing is owed.
"""

from __future__ import annotations

_RESERVED = 8
"""One of this many sequences is kept free of batches, so that a live one that arrives begins at once."""


class BatchShare:
    """Says whether one more sequence of a batch may begin. `share` is at least 0 and below 1."""

    def __init__(self, share: float, max_running: int) -> None:
        """Raise ValueError for a share that is negative, or 1 and more."""
        if not 0 <= share < 1:
            raise ValueError("the share of batch requests is at least 0 and below 1")
        self._live_tokens = share / (1 - share)  # of batches, per live token or sequence
        self._most = max(1, max_running - max(1, max_running // _RESERVED))
        self._debt = 0.0

    def permits(self, *, num_batch: int, num_live: int) -> bool:
        """Whether a sequence of a batch may begin beside these that run."""
        if not num_live:
            self._debt = 0.0
            return num_batch < self._most
        if not self._live_tokens or self._debt > 0:
            return False
        return num_batch < min(self._most, max(1, int(num_live * self._live_tokens)))

    def charge(self, num_tokens: int, *, is_batch: bool) -> None:
        """Count tokens that were computed while live sequences were open."""
        if is_batch:
            self._debt += num_tokens
        else:
            self._debt = max(0.0, self._debt - num_tokens * self._live_tokens)
