"""An encode request while it is computed: one sequence, and a head on its hidden states."""

from __future__ import annotations

from collections import abc

import numpy as np
import torch

from server.engine.errors import NumbersOverflow
from server.engine.events import Encoded, EventSink
from server.engine.paged.sequence import RequestGroup, Sequence, SequenceControl
from server.engine.request import Encode, Kind, Request
from server.model.heads.head import Rows
from server.model.sampling.readout import Readout, Scoring
from server.model.sampling.sampling_row import SamplingRow


class EncodeGroup(RequestGroup):
    """The prompt, as far as the head reads it.

    A head of the last row leaves the prompt to the prefix cache like any other. One of all rows needs all of them, so
    no block is taken from the cache; those computed before a preemption are kept.
    """

    def __init__(self, request: Request[Kind], kind: Encode, sink: EventSink, arrival: int) -> None:
        super().__init__(request, sink, arrival, None)
        self._head = kind.head
        prompt = request.prompt_token_ids
        tokens = list(prompt[: kind.head.num_read(prompt)])
        sequence = Sequence(self, 0, tokens, len(tokens))
        sequence.next_hidden = len(tokens) - 1 if kind.head.rows is Rows.LAST else 0
        self.sequences = [sequence]

    def read_last_row(self, sequence: Sequence, row: int) -> tuple[abc.Sequence[SamplingRow], Scoring | None]:
        """No row of logits is made."""
        return (), None

    def advance(self, sequence: Sequence, readout: Readout, control: SequenceControl) -> None:
        """Put the head on the hidden states: the request has its answer, or its numbers overflow."""
        with torch.inference_mode():
            values = self._head(torch.cat(sequence.hidden), 0).cpu().numpy()
        sequence.hidden.clear()
        if not np.isfinite(values).all():
            control.fail(self, NumbersOverflow("the values of the soft prompt's head overflow"))
            return
        control.finish(sequence)
        control.close(self, Encoded(values, self.num_cached_tokens or 0))

    def report_abort(self, sequence: Sequence) -> None:
        """An encode request has no event for a part."""
