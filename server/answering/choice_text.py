"""The text of one choice, from its tokens: whole characters, no stop string, log-probabilities with their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.engine.events import FinishReason, TokenEvent, TokenLogprob
from server.tokenizer.detokenizer import Detokenizer
from server.tokenizer.stop_strings import StopMatcher
from server.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TextToken:
    """A token of the text. `offset` is where its text begins, in characters; `logprob` is None where it has none.

    `data` is its bytes at its place: those of all tokens joined are the text. `top` has the bytes of the most likely
    tokens at its place. Both are empty if no log-probabilities were requested.
    """

    token_id: int
    offset: int
    logprob: TokenLogprob | None
    data: bytes = b""
    top: tuple[bytes, ...] = ()


def text_token(detokenizer: Detokenizer, token_id: int, offset: int, logprob: TokenLogprob | None) -> TextToken:
    """The next token of a text with log-probabilities; to be called before the detokenizer is fed with it."""
    top = () if logprob is None else tuple(detokenizer.next_bytes(other) for other, _ in logprob.top)
    return TextToken(token_id, offset, logprob, detokenizer.next_bytes(token_id), top)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """New text of a choice. `token_ids` are the tokens generated, `tokens` those whose text is part of the answer."""

    choice: int
    text: str
    token_ids: tuple[int, ...] = ()
    tokens: tuple[TextToken, ...] = ()
    finish_reason: FinishReason | None = None


class ChoiceText:
    """Collects one choice's tokens. Drops the end token and everything from a stop string on.

    `context` is the tokens that the text continues; it is empty for a text of its own. Stop strings are searched after
    the first `min_tokens` tokens. A token is emitted with the first of its characters.
    """

    def __init__(
        self, choice: int, tokenizer: Tokenizer, context: Sequence[int], stop: Sequence[str], min_tokens: int
    ) -> None:
        self._choice = choice
        self._detokenizer = Detokenizer(tokenizer, context)
        self._matcher = StopMatcher(stop)
        self._min_tokens = min_tokens
        self._num_tokens = 0
        self._num_decoded = 0
        self._num_emitted = 0
        self._pending: list[TextToken] = []
        self.is_finished = False

    def feed(self, event: TokenEvent) -> TextDelta:
        """Take the next token."""
        self._num_tokens += 1
        text = ""
        if event.finish_reason is not FinishReason.STOP:
            self._pending.append(self._token(event))
            text = self._take(self._detokenizer.feed(event.token_id))
        if event.finish_reason is None and not self._matcher.stopped:
            return self._delta(text, (event.token_id,), None)
        return self._finish(text, (event.token_id,), event.finish_reason)

    def finish(self, reason: FinishReason) -> TextDelta:
        """End without a further token."""
        return self._finish("", (), reason)

    @property
    def met_stop_string(self) -> bool:
        """Whether the text ended at a stop string, while the engine may still be generating."""
        return self._matcher.stopped

    def _token(self, event: TokenEvent) -> TextToken:
        if event.logprob is None:
            return TextToken(event.token_id, self._num_decoded, None)
        return text_token(self._detokenizer, event.token_id, self._num_decoded, event.logprob)

    def _take(self, decoded: str) -> str:
        self._num_decoded += len(decoded)
        return decoded if self._num_tokens <= self._min_tokens else self._matcher.feed(decoded)

    def _finish(self, text: str, token_ids: tuple[int, ...], reason: FinishReason | None) -> TextDelta:
        self.is_finished = True
        if not self._matcher.stopped:
            text += self._take(self._detokenizer.flush())
        if self._matcher.stopped:
            return self._delta(text, token_ids, FinishReason.STOP)
        text += self._matcher.flush()
        return self._delta(text, token_ids, reason, is_whole=True)

    def _delta(
        self, text: str, token_ids: tuple[int, ...], reason: FinishReason | None, *, is_whole: bool = False
    ) -> TextDelta:
        self._num_emitted += len(text)
        emitted: tuple[TextToken, ...] = ()
        if self._pending and (is_whole or self._pending[0].offset < self._num_emitted):
            emitted = tuple(token for token in self._pending if is_whole or token.offset < self._num_emitted)
            self._pending = self._pending[len(emitted) :]
        return TextDelta(self._choice, text, token_ids, emitted, reason)
