"""What a base model says of its tasks' heads, and which route answers which task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prompts_store.checkpoint_records import BaseKind, TaskType
from prompts_store.manifest import ProblemType
from server.answering.head_outputs import head_labels, head_problem_type
from server.api.errors import InvalidRequest
from server.api.inference.served_model import ServedModel
from server.tokenizer.template import PromptForm, is_continued

_CLASSIFY, _EMBEDDINGS = "/v1/classify", "/v1/embeddings"
_GENERATING = ("/v1/completions", "/v1/chat/completions", _CLASSIFY)
_ROUTES: Mapping[TaskType, str] = {
    TaskType.SEQ_CLS: _CLASSIFY,
    TaskType.TOKEN_CLS: _CLASSIFY,
    TaskType.QUESTION_ANS: _CLASSIFY,
    TaskType.FEATURE_EXTRACTION: _EMBEDDINGS,
}


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """The kind and the width of the base model, and the labels and the kind of classification that its files name."""

    kind: BaseKind = BaseKind.DECODER
    hidden_size: int | None = None
    labels: tuple[str, ...] = ()
    problem_type: ProblemType | None = None

    @property
    def has_encoder(self) -> bool:
        """Whether prompts are read by an encoder, so that answers are texts of their own."""
        return self.kind is BaseKind.ENCODER_DECODER

    def is_continued(self, form: PromptForm, served: ServedModel) -> bool:
        """Whether an answer continues the text of its prompt; see `template.is_continued`."""
        return not self.has_encoder and is_continued(form, has_prompt_form=served.manifest.has_prompt_form)

    def labels_of(self, served: ServedModel, num_labels: int) -> tuple[str, ...]:
        """The labels of a head: the version's, else the base model's if it has as many, else placeholders."""
        return head_labels(num_labels, served.manifest.labels, self.labels)

    def problem_type_of(self, served: ServedModel, num_labels: int) -> ProblemType:
        """What the outputs of a classifier are. As in transformers, a single one is a number unless it is said."""
        return head_problem_type(num_labels, served.manifest.problem_type, self.problem_type)

    def check_dimensions(self, dimensions: int | None) -> None:
        """Raise `InvalidRequest` for another length of a vector than the base model's."""
        if dimensions not in (None, self.hidden_size):
            message = f"dimensions is {dimensions}; vectors have {self.hidden_size} numbers and are not shortened"
            raise InvalidRequest(message, param="dimensions")

    def endpoints_of(self, served: ServedModel) -> tuple[str, ...]:
        """The paths that answer a task or the base model; none of an encoder without a task."""
        if served.task_type is not None:
            return (_ROUTES[served.task_type],)
        return () if self.kind is BaseKind.ENCODER else _GENERATING

    def check_generates(self, served: ServedModel) -> None:
        """Raise `InvalidRequest` for a task that generates no text, and for a base model that does not."""
        if served.task_type is not None:
            raise _other_route(served, served.task_type, "generates no text")
        if self.kind is BaseKind.ENCODER:
            raise InvalidRequest("the base model is an encoder and generates no text: name a task", param="model")


def check_embeds(served: ServedModel) -> None:
    """Raise `InvalidRequest` for anything but a task whose answers are vectors."""
    if served.task_type is None:
        what = "the base model" if served.record is None else f"the task {served.task!r}"
        raise InvalidRequest(
            f"{what} has no embeddings: they need a task for {TaskType.FEATURE_EXTRACTION}", param="model"
        )
    if _ROUTES[served.task_type] != _EMBEDDINGS:
        raise _other_route(served, served.task_type, "has no embeddings")


def check_classifies(served: ServedModel, task_type: TaskType) -> None:
    """Raise `InvalidRequest` for a task whose answers are vectors."""
    if _ROUTES[task_type] != _CLASSIFY:
        raise _other_route(served, task_type, "classifies nothing")


def _other_route(served: ServedModel, task_type: TaskType, cannot: str) -> InvalidRequest:
    route = _ROUTES[task_type]
    return InvalidRequest(f"the task {served.task!r} is for {task_type} and {cannot}: use POST {route}", param="model")
