"""Limits of a head: found before a run, from the shapes of its parameters and the number of labels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prompts_store.checkpoint_records import HeadShapes, TaskType
from prompts_store.manifest import MAX_LABELS
from server.tuning.cost import bytes_of_copies, parameter_bytes
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.head_fit import TrainedHead, check_task_type
from server.tuning.plan import TuningPlan
from tests.tuning.tiny import tiny_base

PLAN = TuningPlan(num_virtual_tokens=4, task_type=TaskType.SEQ_CLS)
ROBERTA = HeadShapes(
    {
        "classifier.dense.weight": (32, 32),
        "classifier.dense.bias": (32,),
        "classifier.out_proj.weight": (None, 32),
        "classifier.out_proj.bias": (None,),
    }
)
NUM_FIXED, NUM_PER_LABEL = 32 * 33, 33
POOLED = {"pooler.dense.weight": (32, 32), "classifier.weight": (None, 32)}


def base_with(shapes: HeadShapes | None):
    return replace(tiny_base(), heads={} if shapes is None else {TaskType.SEQ_CLS: shapes})


def head_of(num_labels: int, shapes: HeadShapes = ROBERTA) -> TrainedHead:
    return TrainedHead(PLAN, base_with(shapes), num_labels)


def test_labels_are_limited_as_a_manifest_limits_them():
    """A version could not be sent elsewhere with more."""
    head_of(MAX_LABELS).check_size(0, 1 << 30)
    with pytest.raises(ExamplesRefused, match="there are 1001 labels, and a version has at most 1000") as refused:
        head_of(MAX_LABELS + 1).check_size(0, 1 << 30)
    assert refused.value.code == "too_many_labels"


def test_a_head_too_large_to_publish_is_refused():
    """With the soft prompt beside it."""
    num_bytes = 4 * (NUM_FIXED + 7 * NUM_PER_LABEL + 100)
    head_of(7).check_size(100, num_bytes)
    with pytest.raises(ExamplesRefused, match=rf"a version of {num_bytes} bytes .* \(--max-tensor-bytes\)"):
        head_of(7).check_size(100, num_bytes - 1)


def test_a_head_too_large_for_the_memory_is_refused():
    """With gradient, moments and copies of it and of the soft prompt."""
    needed = parameter_bytes(PLAN, tiny_base()) + bytes_of_copies(NUM_FIXED + 7 * NUM_PER_LABEL)
    head_of(7).check_memory(needed)
    with pytest.raises(ExamplesRefused, match=r"head of 7 labels takes .* use fewer labels, .*--tuning-memory-gib"):
        head_of(7).check_memory(needed - 1)


def test_what_the_base_model_holds_is_no_part_of_the_version():
    """A pooler that PEFT does not train is read with the base model."""
    held = HeadShapes(POOLED, {"pooler.dense.weight": (32, 32)})
    head_of(7, held).check_size(0, 4 * 7 * 32)
    with pytest.raises(ExamplesRefused):
        head_of(7, held).check_size(0, 4 * 7 * 32 - 1)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (None, "transformers has no class for it"),
        (HeadShapes(POOLED), r"its head has pooler\.dense\.weight, which neither the base model nor PEFT saves"),
    ],
)
def test_a_head_that_cannot_be_trained_is_refused_with_its_plan(shapes, message):
    """Before any file is read. Texts need no head."""
    check_task_type(replace(PLAN, task_type=None), base_with(shapes))
    check_task_type(PLAN, base_with(ROBERTA))
    with pytest.raises(PlanRefused, match=message) as refused:
        check_task_type(PLAN, base_with(shapes))
    assert refused.value.param == "task_type"
