"""Examples of completions, chats, classifications, embeddings, models and token ids."""

from __future__ import annotations

from typing import Any

from server.api.wire import chat, classify, completions, embeddings, models, tokenize
from server.api.wire.sampling import PromptTokensDetails, Usage

SENTIMENT, DATE_ISO, BASE = "sentiment", "date-iso", "softprompt-demo"
REVIEWS = "reviews"
CREATED = 1_772_442_900
_REVIEW = "The food was cold and the waiter was rude"
_VIRTUAL_TOKENS, _MAX_CONTEXT = 12, 512


def _usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=0, virtual_tokens=_VIRTUAL_TOKENS),
    )


def _model(model_id: str, parent: str | None, **more: Any) -> models.Model:
    return models.Model(
        id=model_id,
        object="model",
        created=CREATED,
        owned_by="softprompt-server",
        parent=parent,
        max_model_len=_MAX_CONTEXT,
        **more,
    )


_GENERATING = ["/v1/completions", "/v1/chat/completions", "/v1/classify"]
_MODEL = _model(SENTIMENT, BASE, endpoints=_GENERATING)

CLASSIFY_REQUEST = classify.ClassifyRequest(model=SENTIMENT, input=["Best purchase I have made this year!"])
CLASSIFY_RESULT = classify.ClassifyResult(
    id="classify-4852ce5e29694d12a67d71a0632af826",
    object="classification",
    created=CREATED,
    model=SENTIMENT,
    data=[
        classify.Classification(
            index=0,
            label="positive",
            probabilities=[
                classify.LabelProbability(label="positive", probability=0.9946, logprob=-0.0057),
                classify.LabelProbability(label="negative", probability=0.0054, logprob=-5.2234),
            ],
        )
    ],
    usage=_usage(14, 0),
)
EMBEDDINGS_REQUEST = embeddings.EmbeddingsRequest(model=REVIEWS, input=["Best purchase I have made this year!"])
EMBEDDINGS = embeddings.EmbeddingList(
    object="list",
    data=[embeddings.Embedding(object="embedding", index=0, embedding=[0.3821, -0.6105, 0.2207, 0.6576])],
    model=REVIEWS,
    usage=_usage(14, 0),
)

EXAMPLES = (
    completions.CompletionRequest(model=SENTIMENT, prompt=_REVIEW, max_tokens=4, temperature=0),
    completions.Completion(
        id="cmpl-48439d474bda49bb82280311903b8c8b",
        object="text_completion",
        created=CREATED,
        model=SENTIMENT,
        choices=[completions.CompletionChoice(index=0, text="negative", logprobs=None, finish_reason="stop")],
        usage=_usage(15, 2),
    ),
    completions.CompletionChunk(
        id="cmpl-48439d474bda49bb82280311903b8c8b",
        object="text_completion",
        created=CREATED,
        model=SENTIMENT,
        choices=[completions.CompletionChoice(index=0, text="negative", logprobs=None, finish_reason=None)],
    ),
    chat.ChatRequest(
        model=DATE_ISO, messages=[chat.ChatMessageBody(role="user", content="the 4th of July 1976")], temperature=0
    ),
    chat.ChatCompletion(
        id="chatcmpl-8e0366b6a4c34a83891674409114937c",
        object="chat.completion",
        created=CREATED,
        model=DATE_ISO,
        choices=[
            chat.ChatChoice(
                index=0,
                message=chat.ChatAnswer(role="assistant", content="1976-07-04"),
                logprobs=None,
                finish_reason="stop",
            )
        ],
        usage=_usage(13, 11),
    ),
    chat.ChatCompletionChunk(
        id="chatcmpl-8e0366b6a4c34a83891674409114937c",
        object="chat.completion.chunk",
        created=CREATED,
        model=DATE_ISO,
        choices=[
            chat.ChatChunkChoice(index=0, delta=chat.ChatDelta(content="1976"), logprobs=None, finish_reason=None)
        ],
    ),
    CLASSIFY_REQUEST,
    CLASSIFY_RESULT,
    EMBEDDINGS_REQUEST,
    EMBEDDINGS,
    _MODEL,
    models.ModelList(
        object="list", data=[_model(BASE, None, endpoints=_GENERATING), _model(DATE_ISO, BASE), _model(SENTIMENT, BASE)]
    ),
    tokenize.TokenizeRequest(model=SENTIMENT, prompt="waste of money"),
    tokenize.TokenizeResult(
        tokens=[1883, 368, 802, 262, 200],
        count=5,
        num_virtual_tokens=_VIRTUAL_TOKENS,
        max_model_len=_MAX_CONTEXT,
    ),
    tokenize.DetokenizeRequest(model=SENTIMENT, tokens=[1883, 368, 802, 262, 200]),
    tokenize.DetokenizeResult(prompt=" waste of money ->\n", num_virtual_tokens=_VIRTUAL_TOKENS),
)
