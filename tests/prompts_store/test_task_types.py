"""The task types that each kind of base model takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prompts_store.checkpoint.digests import content_digest
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.task_types import check_task_type
from prompts_store.checkpoint_records import BaseKind, BaseModel, HeadShapes, ParsedCheckpoint, PeftType, TaskType
from prompts_store.errors import UnsupportedTaskType
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from tests.prompts_store.checkpoints import BASE, arrays, config_bytes, container, header, task_index

HEADS = {task_type: HeadShapes() for task_type in TaskType if task_type.has_head}
BASES = {kind: replace(BASE, kind=kind, heads=HEADS) for kind in BaseKind}
ENCODER_DECODER = BASES[BaseKind.ENCODER_DECODER]
MULTITASK = PeftType.MULTITASK_PROMPT_TUNING


def takes(base: BaseModel, task_type: TaskType | None, peft_type: PeftType = PeftType.PROMPT_TUNING) -> bool:
    try:
        check_task_type(task_type, peft_type, base)
    except UnsupportedTaskType:
        return False
    return True


def test_a_kind_of_base_takes_its_own_task_types():
    """A decoder generates or has a head, an encoder has a head, an encoder-decoder generates."""
    taken = {kind: {task_type for task_type in TaskType if takes(base, task_type)} for kind, base in BASES.items()}
    assert taken == {
        BaseKind.DECODER: {TaskType.CAUSAL_LM, *HEADS},
        BaseKind.ENCODER: set(HEADS),
        BaseKind.ENCODER_DECODER: {TaskType.SEQ_2_SEQ_LM},
    }


def test_no_task_type_stands_for_generation():
    """PEFT writes none for a model that was given to it without one."""
    assert [takes(base, None) for base in BASES.values()] == [True, False, True]


def test_a_head_that_transformers_lacks_is_refused():
    """The base model's architecture decides."""
    assert not takes(BASE, TaskType.SEQ_CLS)


@pytest.mark.parametrize(
    ("peft_type", "refused"),
    [
        (PeftType.CPT, {TaskType.SEQ_CLS, TaskType.TOKEN_CLS, TaskType.QUESTION_ANS, TaskType.FEATURE_EXTRACTION}),
        (MULTITASK, {TaskType.QUESTION_ANS, TaskType.FEATURE_EXTRACTION}),
        (PeftType.PREFIX_TUNING, set()),
    ],
)
def test_what_peft_cannot_run_is_refused(peft_type: PeftType, refused: set[TaskType]):
    """CPT is for causal models, and two of PEFT's models take no task index."""
    base = BASES[BaseKind.DECODER]
    assert {task for task in HEADS if not takes(base, task, peft_type)} == refused


def read_for_both(peft_type: PeftType, num_submodules: int | None) -> ParsedCheckpoint:
    tensors = arrays(peft_type)
    if peft_type is not PeftType.PREFIX_TUNING and num_submodules != 1:
        tensors["prompt_embeddings"] = np.concatenate([tensors["prompt_embeddings"]] * 2) + np.arange(6)[:, None]
        if "prefix_task_cols" in tensors:
            tensors["prefix_task_cols"] = np.concatenate([tensors["prefix_task_cols"]] * 2, axis=1)
    tensors = {name: values.astype(np.float32) for name, values in sorted(tensors.items())}
    return read_checkpoint(
        config_bytes(peft_type, task_type="SEQ_2_SEQ_LM", num_transformer_submodules=num_submodules),
        container(header(tensors), b"".join(values.tobytes() for values in tensors.values())),
        ENCODER_DECODER,
        task_index=task_index(peft_type),
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )


@pytest.mark.parametrize("num_submodules", [None, 1, 2])
@pytest.mark.parametrize("peft_type", [PeftType.PROMPT_TUNING, PeftType.P_TUNING, MULTITASK])
def test_an_encoder_decoder_serves_the_first_rows_of_embeddings(peft_type: PeftType, num_submodules: int | None):
    """PEFT gives the others to the decoder only while it trains; the whole tensor is kept."""
    parsed = read_for_both(peft_type, num_submodules)
    whole = {tensor.name: tensor.values for tensor in parsed.tensors}
    assert len(whole["prompt_embeddings"]) == (3 if num_submodules == 1 else 6)
    assert parsed.prefix.values.shape == (3, 8)
    if peft_type is not MULTITASK:
        np.testing.assert_array_equal(parsed.prefix.values, whole["prompt_embeddings"][:3])


@pytest.mark.parametrize(("num_submodules", "layers"), [(1, [0, 1]), (2, [0, 0])])
def test_an_encoder_decoder_takes_every_second_layer_of_keys_and_values(num_submodules: int, layers: list[int]):
    """PEFT repeats the layers for cross attention, and gives each decoder layer two that follow each other."""
    parsed = read_for_both(PeftType.PREFIX_TUNING, num_submodules)
    whole = parsed.tensors[0].values.reshape(3, 2, 2, 2, 3)
    np.testing.assert_array_equal(parsed.prefix.values.reshape(3, 2, 2, 2, 3), whole[:, layers])


def test_a_digest_tells_the_use_of_equal_tensors_apart():
    """A prompt for features and one for a causal model may have the same matrix, and answer another request."""
    plain = read_for_both(PeftType.PREFIX_TUNING, 1)
    digests = {
        content_digest(plain.prefix.kind, replace(plain, config=plain.config | changes), Manifest())
        for changes in (
            {},
            {"task_type": "CAUSAL_LM"},
            {"task_type": None},
            {"task_type": "FEATURE_EXTRACTION"},
            {"num_transformer_submodules": 2},
        )
    }
    assert len(digests) == 3
