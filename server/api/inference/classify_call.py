"""A classification: by a task's head, or each label is scored as the model's whole answer to an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.answering import label_scores
from server.api.errors import InvalidRequest, NotReady
from server.api.inference.classify_answer import ClassifyAnswer
from server.api.inference.head_answer import HeadAnswer
from server.api.inference.head_call import plan_head, refuse_question_fields, texts_of
from server.api.inference.inference import Inference
from server.api.inference.plan import EncodePlan, ScorePlan
from server.api.inference.prompts import encode_texts, refuse_empty
from server.api.inference.request_context import RequestContext
from server.api.inference.served_model import ServedModel
from server.api.limits import ApiLimits
from server.api.wire.classify import ClassifyRequest, Question


@dataclass(frozen=True, slots=True, eq=False)
class ClassifyCall:
    """A body of `POST /v1/classify`. Raises `InvalidRequest` for too few or too many inputs."""

    body: ClassifyRequest
    inference: Inference

    def __post_init__(self) -> None:
        max_inputs = self.inference.limits.max_inputs
        if not 0 < len(self.inputs) <= max_inputs:
            message = f"there are {len(self.inputs)} inputs; allowed are 1 to {max_inputs} (--max-inputs)"
            raise InvalidRequest(message, param="input")

    @property
    def model(self) -> str:
        """The body's `model`."""
        return self.body.model

    @property
    def inputs(self) -> list[str] | list[Question]:
        """The texts to classify, or the questions to answer."""
        match self.body.input:
            case list() as inputs:
                return inputs
            case str() as text:
                return [text]
            case question:
                return [question]

    async def plan(
        self, served: ServedModel, context: RequestContext
    ) -> ScorePlan[ClassifyAnswer] | EncodePlan[HeadAnswer]:
        """The head of a task on its inputs, or every label behind every input, for each prefix.

        Raises `InvalidRequest` and `NotReady`.
        """
        if served.task_type is not None:
            return await plan_head(self.body, self.inputs, self.inference, served, context)
        self.inference.base_facts.check_generates(served)
        refuse_question_fields(self.body)
        tokenizer, texts = self.inference.tokenizer, texts_of(self.inputs)
        labels = _chosen_labels(self.body.labels, served, len(texts), self.inference.limits)
        continuations = await _label_token_ids(self.inference, labels)
        refuse_empty(texts, "input")
        prompts = await encode_texts(tokenizer, served, texts)
        requests = label_scores.score_requests(
            served.task, served.prefixes, prompts, continuations, salt=context.salt, priority=context.priority
        )
        return ScorePlan(tuple(requests), ClassifyAnswer(self.body.model, labels, prompts, served.prefix_lengths))


def _chosen_labels(
    requested: Sequence[str] | None, served: ServedModel, num_inputs: int, limits: ApiLimits
) -> tuple[str, ...]:
    """The labels to choose from: the request's, else the version's. Raises `InvalidRequest`."""
    labels = tuple(served.manifest.labels if requested is None else requested)
    if not labels:
        raise InvalidRequest("the task has no labels of its own: send labels", param="labels")
    num_scores = len(labels) * num_inputs * len(served.prefixes)
    if len(labels) > limits.max_labels:
        message = f"there are {len(labels)} labels; the maximum is {limits.max_labels} (--max-labels)"
        raise InvalidRequest(message, param="labels")
    if num_scores > limits.max_label_scores:
        raise InvalidRequest(
            f"the request needs {num_scores} label scores (inputs times labels times ensemble members); the maximum is "
            f"{limits.max_label_scores}: send fewer inputs or labels",
            param="labels",
        )
    if len(set(labels)) < len(labels):
        raise InvalidRequest("two labels are equal: send each label once", param="labels")
    if any(not 0 < len(label) <= limits.max_label_length for label in labels):
        raise InvalidRequest(f"each label must have 1 to {limits.max_label_length} characters", param="labels")
    return labels


async def _label_token_ids(inference: Inference, labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Each label as the model would write it: its own tokens, then the end token. Raises `NotReady` without one."""
    tokenizer = inference.tokenizer
    end = label_scores.end_token_id(tokenizer, inference.eos_token_ids)
    if end is None:
        raise NotReady("the base model has no end token, so labels cannot be scored")
    return tuple((*label, end) for label in await tokenizer.encode_all(labels, add_special_tokens=False))
