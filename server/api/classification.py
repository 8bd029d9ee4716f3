"""Choosing between labels: score each as a continuation, and take the softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence

from server.answering import label_scores
from server.api.errors import InvalidRequest, NotReady
from server.api.limits import ApiLimits
from server.api.services import Services
from server.api.target import Target
from server.api.wire.classify import Classification, LabelProbability
from server.engine.client import EngineClient
from server.engine.request import Scored


def chosen_labels(
    requested: Sequence[str] | None, target: Target, num_inputs: int, limits: ApiLimits
) -> tuple[str, ...]:
    """The labels to choose from: the request's, else the version's. Raises `InvalidRequest`."""
    labels = tuple(target.manifest.labels if requested is None else requested)
    if not labels:
        raise InvalidRequest("the task has no labels of its own: name them", param="labels")
    if len(labels) > limits.max_labels or len(labels) * num_inputs > limits.max_label_scores:
        raise InvalidRequest(
            f"there are at most {limits.max_labels} labels, and {limits.max_label_scores} inputs times labels",
            param="labels",
        )
    if len(set(labels)) < len(labels):
        raise InvalidRequest("two labels are the same", param="labels")
    if any(not 0 < len(label) <= limits.max_label_length for label in labels):
        raise InvalidRequest(f"a label has 1 to {limits.max_label_length} characters", param="labels")
    return labels


async def label_token_ids(services: Services, labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Each label as the model would write it: its own tokens, then the end token. Raises `NotReady` without one."""
    tokenizer = services.tokenizer
    end = label_scores.end_token_id(tokenizer, services.eos_token_ids)
    if end is None:
        raise NotReady("the base model has no end token, so labels cannot be scored")
    return tuple((*label, end) for label in await tokenizer.encode_all(labels, add_special_tokens=False))


async def score_prompts(
    engine: EngineClient,
    target: Target,
    prompts: Sequence[tuple[int, ...]],
    continuations: tuple[tuple[int, ...], ...],
) -> list[Scored]:
    """Score the continuations behind every prompt, all at once. Raises `EngineError`."""
    return await label_scores.score_prompts(engine, target.task, target.prefix, prompts, continuations)


def classification(index: int, labels: Sequence[str], logprobs: Sequence[float]) -> Classification:
    """The verdict on one input: probabilities are the softmax over the labels' log-probabilities."""
    highest = max(logprobs)
    weights = [math.exp(logprob - highest) for logprob in logprobs]
    total = sum(weights)
    return Classification(
        index=index,
        label=labels[logprobs.index(highest)],
        probabilities=[
            LabelProbability(label=label, probability=weight / total, logprob=logprob)
            for label, weight, logprob in zip(labels, weights, logprobs, strict=True)
        ],
    )
