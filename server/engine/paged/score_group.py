"""A score request while it is computed: the stem is the prompt, and longer continuations are forks of it."""

from __future__ import annotations

from collections import abc

from server.engine.events import EventSink, Scored, TokenLogprob
from server.engine.paged.sequence import RequestGroup, Sequence, SequenceControl
from server.engine.request import Kind, Request, Score
from server.model.encoder_decoder.decoding import Decoding
from server.model.sampling.readout import Readout, RowLogprobs, Scoring
from server.model.sampling.sampling_row import SamplingRow


class ScoreGroup(RequestGroup):
    """The stem, whose last row scores the first token of each continuation, and a fork for each longer one."""

    def __init__(
        self,
        request: Request[Kind],
        kind: Score,
        sink: EventSink,
        arrival: int,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__(request, sink, arrival, decoding)
        self._continuations = kind.continuations
        self._scores: list[float | None] = [None] * len(kind.continuations)
        prompt = request.prompt_token_ids if decoding is None else decoding.given
        self.sequences = [Sequence(self, 0, list(prompt), len(prompt))]

    def read_last_row(self, sequence: Sequence, row: int) -> tuple[abc.Sequence[SamplingRow], Scoring | None]:
        """Of the stem, the first token of each continuation."""
        if sequence.is_scored:
            return (), None
        return (), Scoring(range(row, row + 1), [continuation[0] for continuation in self._continuations], 0)

    def advance(self, sequence: Sequence, readout: Readout, control: SequenceControl) -> None:
        """The stem's forks begin, or the score of a continuation is complete."""
        if sequence.is_scored:
            self._scores[sequence.choice] = sum(score.logprob for score in sequence.scores)
        else:
            self._fork_continuations(sequence, readout.scores, control)
        control.finish(sequence)
        if self.is_complete:
            scores = tuple(value for value in self._scores if value is not None)
            control.close(self, Scored(scores, self.num_cached_tokens or 0))

    def report_abort(self, sequence: Sequence) -> None:
        """Continuations have no events of their own."""

    def _fork_continuations(self, stem: Sequence, scores: abc.Sequence[RowLogprobs], control: SequenceControl) -> None:
        forks = []
        for choice, continuation in enumerate(self._continuations):
            if len(continuation) == 1:
                self._scores[choice] = scores[choice].logprob
                continue
            fork = Sequence(self, choice, [*stem.tokens, *continuation], stem.num_prompt, is_scored=True)
            fork.score_from = stem.num_prompt
            fork.scores.append(TokenLogprob(continuation[0], scores[choice].logprob))
            forks.append(fork)
        self.sequences.extend(forks)
        control.fork(stem, forks)
