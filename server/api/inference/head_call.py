"""A classification by a task's head: texts, tokens of texts, or questions about texts."""

from __future__ import annotations

from collections.abc import Sequence

from prompts_store.checkpoint_records import TaskType
from server.api.errors import InvalidRequest
from server.api.inference.base_facts import check_classifies
from server.api.inference.head_answer import HeadAnswer, ItemWriter
from server.api.inference.head_items import ClassItems, SpanItems, TokenItems
from server.api.inference.inference import Inference
from server.api.inference.plan import EncodePlan, encode_requests
from server.api.inference.prompts import encode_marked, encode_texts, refuse_empty
from server.api.inference.request_context import RequestContext
from server.api.inference.served_model import ServedModel
from server.api.wire.classify import ClassifyRequest, Question
from server.tokenizer.tokenizer import MarkedTokens

_TOP_K, _MAX_ANSWER_TOKENS = 1, 15  # of transformers' pipeline

Inputs = list[str] | list[Question]


async def plan_head(
    body: ClassifyRequest, inputs: Inputs, inference: Inference, served: ServedModel, context: RequestContext
) -> EncodePlan[HeadAnswer]:
    """The plan of a task with a head. Raises `InvalidRequest` for what its type does not take."""
    task_type = served.task_type
    assert task_type is not None
    check_classifies(served, task_type)
    if body.labels is not None:
        raise InvalidRequest("the head of the task has its own labels: leave labels out", param="labels")
    if task_type is TaskType.QUESTION_ANS:
        prompts, items = await _questions(body, questions_of(inputs, served), inference, served)
    else:
        refuse_question_fields(body)
        texts = texts_of(inputs)
        refuse_empty(texts, "input")
        prompts, items = await _texts(texts, inference, served)
    requests = encode_requests(prompts, served, context)
    return EncodePlan(requests, HeadAnswer(body.model, items, prompts, served.prefix_lengths))


async def _texts(
    texts: Sequence[str], inference: Inference, served: ServedModel
) -> tuple[tuple[tuple[int, ...], ...], ItemWriter]:
    if served.task_type is TaskType.SEQ_CLS:
        return await encode_texts(inference.tokenizer, served, texts), ClassItems(inference.base_facts, served)
    marked = await encode_marked(inference.tokenizer, served, [(text, None) for text in texts])
    _refuse_without_text(marked, 0)
    return tuple(each.ids for each in marked), TokenItems(inference.base_facts, served, texts, marked)


async def _questions(
    body: ClassifyRequest, questions: Sequence[Question], inference: Inference, served: ServedModel
) -> tuple[tuple[tuple[int, ...], ...], ItemWriter]:
    """Each question with its context as one prompt, in the order that the tokenizer gives them.

    The encoder is not told of which text a token is: PEFT takes token types for such tasks, and drops them.
    """
    tokenizer = inference.tokenizer
    refuse_empty([text for each in questions for text in (each.question, each.context)], "input")
    pairs = [(each.question, each.context) for each in questions]
    context_at = 1
    if not tokenizer.question_is_first:
        pairs, context_at = [(context, question) for question, context in pairs], 0
    marked = await encode_marked(tokenizer, served, pairs)
    _refuse_without_text(marked, context_at)
    items = SpanItems(
        [each.context for each in questions],
        marked,
        context_at,
        tokenizer.cls_token_id,
        top_k=body.top_k or _TOP_K,
        max_tokens=body.max_answer_tokens or _MAX_ANSWER_TOKENS,
    )
    return tuple(each.ids for each in marked), items


def texts_of(inputs: Inputs) -> list[str]:
    """The inputs of a task that takes texts. Raises `InvalidRequest` for questions."""
    texts = [each for each in inputs if isinstance(each, str)]
    if len(texts) != len(inputs):
        message = f"only a task for {TaskType.QUESTION_ANS} takes a question with its context: send texts"
        raise InvalidRequest(message, param="input")
    return texts


def questions_of(inputs: Inputs, served: ServedModel) -> list[Question]:
    """The inputs of a task that answers questions. Raises `InvalidRequest` for bare texts."""
    questions = [each for each in inputs if isinstance(each, Question)]
    if len(questions) != len(inputs):
        message = f"the task {served.task!r} answers questions: send objects with question and context"
        raise InvalidRequest(message, param="input")
    return questions


def refuse_question_fields(body: ClassifyRequest) -> None:
    """Raise `InvalidRequest` for a parameter that only questions have."""
    for name in ("top_k", "max_answer_tokens"):
        if getattr(body, name) is not None:
            raise InvalidRequest(f"{name} is for tasks for {TaskType.QUESTION_ANS} only: leave it out", param=name)


def _refuse_without_text(marked: Sequence[MarkedTokens], text: int) -> None:
    """Raise `InvalidRequest` where an input has no token of its own, such as white space in some vocabularies."""
    if not all(text in each.texts for each in marked):
        raise InvalidRequest("an input has no tokens: send some text", param="input")
