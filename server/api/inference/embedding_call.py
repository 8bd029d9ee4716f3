"""Embeddings: one vector per input, by a task for FEATURE_EXTRACTION."""

from __future__ import annotations

from dataclasses import dataclass

from server.api.inference.base_facts import check_embeds
from server.api.inference.embedding_answer import EmbeddingAnswer
from server.api.inference.inference import Inference
from server.api.inference.plan import EncodePlan, encode_requests
from server.api.inference.prompts import encode_inputs
from server.api.inference.request_context import RequestContext
from server.api.inference.served_model import ServedModel
from server.api.wire.embeddings import EmbeddingsRequest


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingCall:
    """A body of `POST /v1/embeddings`."""

    body: EmbeddingsRequest
    inference: Inference

    @property
    def model(self) -> str:
        """The body's `model`."""
        return self.body.model

    async def plan(self, served: ServedModel, context: RequestContext) -> EncodePlan[EmbeddingAnswer]:
        """The inputs behind the task's prefix. Raises `InvalidRequest`, and `UnknownToken` for ids."""
        body = self.body
        check_embeds(served)
        self.inference.base_facts.check_dimensions(body.dimensions)
        prompts = await encode_inputs(self.inference.tokenizer, served, body.input, self.inference.limits)
        answer = EmbeddingAnswer(
            body.model,
            prompts,
            served.prefix_lengths,
            is_normalized=served.manifest.normalize is not False,
            as_base64=body.encoding_format == "base64",
        )
        return EncodePlan(encode_requests(prompts, served, context), answer)
