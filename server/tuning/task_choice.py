"""The task type of a run: what a person asks for, and what a kind of base model can be trained for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from prompts_store.checkpoint_records import BaseKind, TaskType
from server.tuning.encoding import AnswerForm
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.plan import Method, TuningPlan
from server.tuning.split import TuningData

PARAM = "task_type"

_GENERATING: Mapping[BaseKind, TaskType] = {
    BaseKind.DECODER: TaskType.CAUSAL_LM,
    BaseKind.ENCODER_DECODER: TaskType.SEQ_2_SEQ_LM,
}
_WITHOUT_EXAMPLES: Mapping[TaskType, str] = {
    TaskType.TOKEN_CLS: "examples have no form for the labels of single tokens",
    TaskType.QUESTION_ANS: "examples have no form for the span of an answer",
    TaskType.FEATURE_EXTRACTION: "examples have no form for pairs of texts to compare",
}


def plan_for(plan: TuningPlan, kind: BaseKind) -> TuningPlan:
    """Return the plan of a run on a base model of this kind.

    An encoder is trained for SEQ_CLS where nothing else is asked for. The generating type of the base model is stored
    as None. Raises `PlanRefused` for a task type or a method that is not trained on such a base model.
    """
    if plan.method is Method.CARTRIDGE and kind is not BaseKind.DECODER:
        message = f"is CARTRIDGE, which is trained on decoders; the base model is of the kind {kind}"
        raise PlanRefused(f"{message}: choose PREFIX_TUNING", param="method")
    wanted = plan.task_type
    if wanted is not None and (problem := _WITHOUT_EXAMPLES.get(wanted)) is not None:
        raise PlanRefused(
            f"is {wanted}, and {problem}: train the soft prompt with PEFT, and publish its checkpoint here", param=PARAM
        )
    if wanted is None:
        return plan if kind in _GENERATING else replace(plan, task_type=TaskType.SEQ_CLS)
    if wanted == _GENERATING.get(kind):
        return replace(plan, task_type=None)
    if wanted is TaskType.SEQ_CLS and kind is not BaseKind.ENCODER_DECODER:
        return plan
    trained = ", ".join(_TRAINED[kind])
    raise PlanRefused(f"is {wanted}; the base model is of the kind {kind}, which is tuned for {trained}", param=PARAM)


def check_classes(labels: Sequence[str], data: TuningData) -> None:
    """Raise `ExamplesRefused` for examples from which a head could not learn to choose among `labels`."""
    check_labels(labels)
    if len({example.completion for example in data.training}) == 1:
        message = "every example to train on has the same label: nothing is to be told apart"
        raise ExamplesRefused(message, code="single_class")


def check_labels(labels: Sequence[str]) -> None:
    """Raise `ExamplesRefused` where neither the request nor the lines name the labels of a head."""
    if not labels:
        message = "a head needs the labels that it chooses from: give lines of text and label, or a job with labels"
        raise ExamplesRefused(message, code="unknown_label")


def answer_form(plan: TuningPlan, kind: BaseKind) -> AnswerForm:
    """How the examples of a run are answered."""
    if plan.has_head:
        return AnswerForm.LABEL
    return AnswerForm.DECODED if kind is BaseKind.ENCODER_DECODER else AnswerForm.CONTINUATION


_TRAINED: Mapping[BaseKind, tuple[TaskType, ...]] = {
    BaseKind.DECODER: (TaskType.CAUSAL_LM, TaskType.SEQ_CLS),
    BaseKind.ENCODER: (TaskType.SEQ_CLS,),
    BaseKind.ENCODER_DECODER: (TaskType.SEQ_2_SEQ_LM,),
}
