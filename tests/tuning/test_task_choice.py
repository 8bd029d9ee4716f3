"""The task type of a run: what each kind of base model is trained for, and what is stored of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prompts_store.checkpoint_records import BaseKind, TaskType
from server.tuning.encoding import AnswerForm
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.example_line import Example
from server.tuning.plan import TuningPlan, new_plan, plan_from_json, plan_to_json
from server.tuning.split import TuningData
from server.tuning.task_choice import answer_form, check_classes, plan_for

CHOSEN = {
    (BaseKind.DECODER, None): (None, AnswerForm.CONTINUATION),
    (BaseKind.DECODER, TaskType.CAUSAL_LM): (None, AnswerForm.CONTINUATION),
    (BaseKind.DECODER, TaskType.SEQ_CLS): (TaskType.SEQ_CLS, AnswerForm.LABEL),
    (BaseKind.ENCODER, None): (TaskType.SEQ_CLS, AnswerForm.LABEL),
    (BaseKind.ENCODER, TaskType.SEQ_CLS): (TaskType.SEQ_CLS, AnswerForm.LABEL),
    (BaseKind.ENCODER_DECODER, None): (None, AnswerForm.DECODED),
    (BaseKind.ENCODER_DECODER, TaskType.SEQ_2_SEQ_LM): (None, AnswerForm.DECODED),
}


@pytest.mark.parametrize("kind", BaseKind)
@pytest.mark.parametrize("task_type", [None, *TaskType])
def test_each_kind_is_trained_for_its_own_types(kind, task_type):
    """Everything else is refused by the name of the field."""
    plan = TuningPlan(task_type=task_type)
    if (kind, task_type) in CHOSEN:
        chosen = plan_for(plan, kind)
        assert (chosen.task_type, answer_form(chosen, kind)) == CHOSEN[kind, task_type]
        assert plan_for(chosen, kind) == chosen
        return
    with pytest.raises(PlanRefused, match=f"task_type is {task_type}") as caught:
        plan_for(plan, kind)
    assert caught.value.param == "task_type"


def test_the_field_is_stored_only_where_it_is_set():
    """Digests of jobs cover the stored plan: those of plans without it are what they always were."""
    assert "task_type" not in plan_to_json(TuningPlan())
    with_head = replace(TuningPlan(), task_type=TaskType.SEQ_CLS)
    assert plan_to_json(with_head)["task_type"] == "SEQ_CLS"
    assert plan_from_json(plan_to_json(with_head)) == with_head


def test_a_type_that_peft_does_not_have_is_refused():
    """The sentence names the types that there are."""
    with pytest.raises(PlanRefused, match="task_type is one of CAUSAL_LM, SEQ_2_SEQ_LM, SEQ_CLS"):
        new_plan({"task_type": "REGRESSION"})


@pytest.mark.parametrize(
    ("labels", "completions", "code", "message"),
    [
        ((), ("yes", "no"), "unknown_label", "a head needs the labels that it chooses from"),
        (("yes", "no"), ("yes", "yes"), "single_class", "every example to train on has the same label"),
    ],
)
def test_a_head_needs_labels_to_tell_apart(labels, completions, code, message):
    """Names of the labels alone teach nothing."""
    examples = tuple(Example(f"text {n}", one, n) for n, one in enumerate(completions))
    with pytest.raises(ExamplesRefused, match=message) as refused:
        check_classes(labels, TuningData(examples, examples[:1], (), "", ()))
    assert refused.value.code == code
