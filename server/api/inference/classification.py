"""Choosing between labels: score each as a continuation, and take the softmax."""

from __future__ import annotations

from collections.abc import Sequence

from server.answering import label_scores
from server.answering.votes import log_mean, mean_probabilities
from server.api.errors import InvalidRequest, NotReady
from server.api.inference.request_context import Terms, pay_for_prompts
from server.api.inference.target import Target
from server.api.limits import ApiLimits
from server.api.services import Services
from server.api.wire.classify import Classification, LabelProbability
from server.engine.request import Scored


def chosen_labels(
    requested: Sequence[str] | None, target: Target, num_inputs: int, limits: ApiLimits
) -> tuple[str, ...]:
    """The labels to choose from: the request's, else the version's. Raises `InvalidRequest`."""
    labels = tuple(target.manifest.labels if requested is None else requested)
    if not labels:
        raise InvalidRequest("the task has no labels of its own: name them", param="labels")
    num_scores = len(labels) * num_inputs * len(target.prefixes)
    if len(labels) > limits.max_labels or num_scores > limits.max_label_scores:
        raise InvalidRequest(
            f"there are at most {limits.max_labels} labels, and {limits.max_label_scores} inputs times labels "
            "(and times the members of an ensemble)",
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
    services: Services,
    target: Target,
    terms: Terms,
    prompts: Sequence[tuple[int, ...]],
    continuations: tuple[tuple[int, ...], ...],
) -> list[list[Scored]]:
    """Score the continuations behind every prompt, all at once: for each prompt, by each prefix of the target.

    Raises `RateLimited`, `QuotaTooSmall` and `EngineError`.
    """
    num_prefixes = len(target.prefixes)
    requests = label_scores.score_requests(
        target.task, target.prefixes, prompts, continuations, salt=terms.salt, priority=terms.priority
    )
    services.engine.check(requests)
    await pay_for_prompts(services, terms, sum(map(len, prompts)) * num_prefixes)
    scored = await label_scores.score_all(services.engine, requests)
    return [scored[first : first + num_prefixes] for first in range(0, len(scored), num_prefixes)]


def classification(index: int, labels: Sequence[str], scored: Sequence[Scored]) -> Classification:
    """The verdict on one input: probabilities are the softmax over the labels' log-probabilities.

    Of several scores, by the members of an ensemble, it is the mean of the probabilities.
    """
    logprobs = [one.logprobs for one in scored]
    probabilities = mean_probabilities(logprobs)
    return Classification(
        index=index,
        label=labels[probabilities.index(max(probabilities))],
        probabilities=[
            LabelProbability(label=label, probability=probability, logprob=log_mean(of_label))
            for label, probability, of_label in zip(labels, probabilities, zip(*logprobs, strict=True), strict=True)
        ],
    )
