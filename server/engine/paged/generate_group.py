"""A generate request while it is computed: one prompt, then the choices as forks of it."""

from __future__ import annotations

import secrets
from collections import abc

from server.engine.events import (
    ChoiceFinished,
    EventSink,
    FinishReason,
    PromptProcessed,
    RequestFinished,
    TokenEvent,
    TokenLogprob,
)
from server.engine.paged.sequence import RequestGroup, Sequence, SequenceControl
from server.engine.request import Generate, Kind, Request
from server.model.encoder_decoder.decoding import Decoding
from server.model.sampling.readout import Readout, SampledRow, Scoring
from server.model.sampling.sampling_row import SamplingRow


class GenerateGroup(RequestGroup):
    """The choices of one prompt. The first computes the prompt, the others wait and fork from it."""

    has_choices = True

    def __init__(
        self,
        request: Request[Kind],
        kind: Generate,
        sink: EventSink,
        arrival: int,
        eos_token_ids: frozenset[int],
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__(request, sink, arrival, decoding)
        sampling = kind.sampling
        self._sampling = sampling
        self._seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._end_token_ids = sampling.stop_token_ids | (frozenset() if sampling.ignore_eos else eos_token_ids)
        self._is_prompt_reported = False
        self.num_top_logprobs = sampling.prompt_logprobs or 0
        prompt = request.prompt_token_ids if decoding is None else (decoding.start,)
        self.sequences = [Sequence(self, choice, list(prompt), len(prompt)) for choice in range(kind.num_choices)]
        if kind.constraint is not None:
            for sequence in self.sequences:
                sequence.matcher = kind.constraint.matcher(self._end_token_ids)
        first, *others = self.sequences
        first.pending_forks = others
        if sampling.prompt_logprobs is not None:
            first.score_from = 1

    def read_last_row(self, sequence: Sequence, row: int) -> tuple[abc.Sequence[SamplingRow], Scoring | None]:
        """The next token of the sequence, and the first of each choice that waits for its prompt."""
        if self._sampling.max_tokens == 0:
            return (), None
        return [self._sampling_row(one, row) for one in (sequence, *sequence.pending_forks)], None

    def advance(self, sequence: Sequence, readout: Readout, control: SequenceControl) -> None:
        """Report the prompt, start the choices that wait for it, and append the tokens that were sampled."""
        live = [sequence, *self._report_prompt(sequence, control)]
        if self._sampling.max_tokens == 0:
            for one in live:
                self.emit(ChoiceFinished(one.choice, FinishReason.LENGTH))
                self._finish(one, control)
            return
        for one, sampled in zip(live, readout.sampled, strict=True):
            self._append(one, sampled, control)

    def report_abort(self, sequence: Sequence) -> None:
        """See `RequestGroup`."""
        self.emit(ChoiceFinished(sequence.choice, FinishReason.ABORTED))

    def _sampling_row(self, sequence: Sequence, row: int) -> SamplingRow:
        sampling = self._sampling
        return SamplingRow(
            row,
            sampling,
            self._seed,
            choice=sequence.choice,
            num_output=sequence.num_output,
            prompt=sequence.tokens[: sequence.num_prompt] if sampling.penalises else (),
            output=sequence.tokens[sequence.num_prompt :] if sampling.penalises else (),
            forbidden=self._end_token_ids if sequence.num_output < sampling.min_tokens else frozenset(),
            forced=None if self.decoding is None else self._forced(self.decoding, sequence.num_output),
        )

    def _forced(self, decoding: Decoding, num_output: int) -> int | None:
        """The token that the base model's generation configuration puts next, whatever the logits. An end wins."""
        if num_output == self._sampling.max_tokens - 1 and decoding.forced_eos is not None:
            return decoding.forced_eos
        return decoding.forced_bos if num_output == 0 else None

    def _report_prompt(self, sequence: Sequence, control: SequenceControl) -> list[Sequence]:
        """The first time that the prompt is computed: emit the event, and start the other choices on its blocks."""
        if not self._is_prompt_reported:
            self._is_prompt_reported = True
            wanted = self._sampling.prompt_logprobs is not None
            scores = (None, *sequence.scores) if wanted else ()
            self.emit(PromptProcessed(self.num_cached_tokens or 0, scores))
        forks, sequence.pending_forks = sequence.pending_forks, []
        if forks:
            control.fork(sequence, forks)
        return forks

    def _append(self, sequence: Sequence, sampled: SampledRow, control: SequenceControl) -> None:
        sequence.tokens.append(sampled.token_id)
        logprobs = sampled.logprobs
        logprob = None if logprobs is None else TokenLogprob(sampled.token_id, logprobs.logprob, logprobs.top)
        reason = self._finish_reason(sequence)
        is_complete = reason is not FinishReason.STOP and self._completes(sequence)
        self.emit(TokenEvent(sequence.choice, sampled.token_id, logprob, None if is_complete else reason))
        if is_complete:
            self.emit(ChoiceFinished(sequence.choice, FinishReason.STOP))
        if is_complete or reason is not None:
            self._finish(sequence, control)

    def _completes(self, sequence: Sequence) -> bool:
        """Whether the last token completes the form that the answer must have, so that nothing can follow."""
        matcher = sequence.matcher
        if matcher is None or self._was_forced(sequence):
            return False
        matcher.consume(sequence.tokens[-1])
        return matcher.is_complete

    def _was_forced(self, sequence: Sequence) -> bool:
        return self.decoding is not None and self._forced(self.decoding, sequence.num_output - 1) is not None

    def _finish(self, sequence: Sequence, control: SequenceControl) -> None:
        control.finish(sequence)
        if self.is_complete:
            control.close(self, RequestFinished())

    def _finish_reason(self, sequence: Sequence) -> FinishReason | None:
        is_last = sequence.num_output >= self._sampling.max_tokens
        has_forced_end = self.decoding is not None and self.decoding.forced_eos is not None
        if is_last and has_forced_end:  # the limit cut the text off, whatever its last token is
            return FinishReason.LENGTH
        if sequence.tokens[-1] in self._end_token_ids:
            return FinishReason.STOP
        return FinishReason.LENGTH if is_last else None
