"""An encoder whose hidden states say what was computed: each row holds its token, its sequence's length and prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from server.engine.encoder.engine import EncoderEngine
from server.engine.encoder.options import EncoderOptions
from server.engine.events import EngineEvent
from server.engine.request import Encode, Request
from server.model.encoder.batch import EncoderInput
from server.model.encoder.prefixes import DevicePrefixes
from server.model.heads.head import Rows
from server.model.prefix import Prefix, PrefixKind

VOCAB_SIZE = 50
NAN_TOKEN = 49


class ScriptedEncoder:
    """Implements `Encoder`. `batches` has all sizes; `fail_next` is raised once, `max_rows` is its room."""

    def __init__(self) -> None:
        self.prefixes = DevicePrefixes(torch.device("cpu"), torch.float32)
        self.batches: list[int] = []
        self.fail_next: Exception | None = None
        self.max_rows: int | None = None
        self.is_broken = False
        self.on_forward: Callable[[], None] = lambda: None

    def forward(self, inputs: Sequence[EncoderInput]) -> list[torch.Tensor]:
        """See `Encoder`."""
        self.on_forward()
        self.batches.append(len(inputs))
        if self.fail_next is not None:
            failure, self.fail_next = self.fail_next, None
            raise failure
        if self.max_rows is not None and sum(one.num_rows for one in inputs) > self.max_rows:
            raise torch.OutOfMemoryError("scripted")
        return [self._states(one) for one in inputs]

    def check_device(self) -> None:
        """See `Encoder`."""
        if self.is_broken:
            raise RuntimeError("the device is gone")

    def _states(self, one: EncoderInput) -> torch.Tensor:
        if one.prefix is not None:
            self.prefixes.get(one.prefix)
        rows = [-1.0] * one.num_virtual_rows + [float(token_id) for token_id in one.token_ids]
        states = torch.tensor(rows)[:, None].repeat(1, 2)
        states[:, 1] = one.num_key_values
        states[states == NAN_TOKEN] = float("nan")
        return states


class TextHead:
    """Implements `Head`: the rows of the text, as they are. `failure` is raised instead."""

    rows = Rows.ALL

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    def num_read(self, token_ids: Sequence[int]) -> int:
        """See `Head`."""
        return len(token_ids)

    def __call__(self, hidden: torch.Tensor, num_virtual: int) -> torch.Tensor:
        """See `Head`."""
        if self.failure is not None:
            raise self.failure
        return hidden[num_virtual:]


def make_prefix(kind: PrefixKind, num_virtual_tokens: int) -> Prefix:
    """A prefix whose digest says its sizes."""
    shape = (num_virtual_tokens, 2) if kind is PrefixKind.EMBEDDINGS else (num_virtual_tokens, 2, 1, 2)
    return Prefix(f"{kind}-{num_virtual_tokens}", kind, torch.ones(shape))


def encode(
    request_id: str,
    tokens: Sequence[int] = (1, 2, 3),
    task: str = "",
    prefix: Prefix | None = None,
    priority: int = 0,
    head: TextHead | None = None,
) -> Request[Encode]:
    """A request for the rows of its text."""
    return Request(request_id, task, tuple(tokens), Encode(head or TextHead()), prefix, priority=priority)


class Harness:
    """An engine over a scripted encoder that keeps each request's events, and the order of their ends."""

    def __init__(self, **changes: int) -> None:
        sizes = {"max_num_seqs": 4, "max_batch_tokens": 16, "max_open_requests": 100, "max_context": 32}
        self.options = EncoderOptions(**(sizes | changes), vocab_size=VOCAB_SIZE)
        self.runner = ScriptedEncoder()
        self.engine = EncoderEngine(self.runner, self.options)
        self.events: dict[str, list[EngineEvent]] = {}
        self.order: list[str] = []

    def add(self, request: Request[Encode]) -> list[EngineEvent]:
        """Accept a request as the door does."""
        self.options.check(request)
        events = self.events.setdefault(request.request_id, [])

        def sink(event: EngineEvent) -> None:
            events.append(event)
            self.order.append(request.request_id)

        self.engine.add(request, sink)
        return events

    def drain(self) -> None:
        """Compute until nothing is left."""
        while self.engine.has_work:
            self.engine.step()
