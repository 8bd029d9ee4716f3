"""The form of an answer, common to all routes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from server.api.inference.served_model import ServedModel
from server.api.inference.usage import UsageCounter
from server.api.wire.sampling import GenerationParameters, StreamOptions
from server.engine.events import FinishReason

FINISH_REASONS: Mapping[FinishReason | None, Literal["stop", "length"] | None] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    None: None,
}


@dataclass(frozen=True, slots=True, eq=False)
class AnswerForm:
    """The form of an answer. `created` is Unix time in seconds; `prompts` are token ids.

    `prefix_lengths` are in virtual tokens, one per prefix of the served model. A stream ends with its usage if
    `with_usage`; `with_usage_so_far` also gives every chunk the usage up to it.
    """

    id: str
    created: int
    model: str
    prompts: tuple[tuple[int, ...], ...]
    num_choices: int
    prefix_lengths: tuple[int, ...]
    with_logprobs: bool
    with_token_ids: bool
    with_usage: bool
    with_usage_so_far: bool

    @classmethod
    def of(
        cls,
        body: GenerationParameters,
        served: ServedModel,
        prompts: tuple[tuple[int, ...], ...],
        *,
        id_prefix: str,
        num_choices: int,
        with_logprobs: bool,
    ) -> AnswerForm:
        """The form that a request asks for, with an id of its own."""
        options = body.stream_options or StreamOptions()
        return cls(
            id=f"{id_prefix}-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=body.model,
            prompts=prompts,
            num_choices=num_choices,
            prefix_lengths=served.prefix_lengths,
            with_logprobs=with_logprobs,
            with_token_ids=bool(body.return_token_ids),
            with_usage=bool(options.include_usage),
            with_usage_so_far=bool(options.include_usage and options.continuous_usage_stats),
        )

    def usage_counter(self) -> UsageCounter:
        """A counter for these prompts."""
        return UsageCounter(self.prompts, self.prefix_lengths)
