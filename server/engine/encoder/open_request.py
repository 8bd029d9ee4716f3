"""A request while it waits."""

from __future__ import annotations

import time

from server.engine.events import EventSink
from server.engine.request import Encode, Kind, Request
from server.model.encoder.batch import EncoderInput
from server.model.heads.head import Head


class OpenRequest:
    """One request with the sink of its events, in the order of its arrival. It is computed in one step."""

    def __init__(self, request: Request[Kind], sink: EventSink, arrival: int) -> None:
        assert isinstance(request.kind, Encode)
        self.request_id = request.request_id
        self.task = request.task
        self.is_batch = request.is_batch
        self.head: Head = request.kind.head
        self.input = EncoderInput(request.prompt_token_ids, request.prefix)
        self.emit = sink
        self.age = (request.priority, arrival)
        self.arrived_at = time.monotonic()
