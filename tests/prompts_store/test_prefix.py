"""What the model sees: layouts, the multitask choice, and its independence of the machine."""

from __future__ import annotations

import numpy as np
import pytest

from prompts_store.checkpoint.prefix import resolve_prefix
from prompts_store.checkpoint_records import PeftType, TensorKind
from prompts_store.errors import InvalidTaskIndex
from tests.prompts_store.checkpoints import BASE, arrays, checkpoint, task_index

KEY_VALUE_TYPES = (PeftType.PREFIX_TUNING, PeftType.CARTRIDGE)
MULTITASK = PeftType.MULTITASK_PROMPT_TUNING


@pytest.mark.parametrize("peft_type", [PeftType.PROMPT_TUNING, PeftType.P_TUNING, PeftType.CPT])
def test_embeddings_are_the_stored_matrix(peft_type: PeftType) -> None:
    prefix = resolve_prefix(checkpoint(peft_type), None, BASE)
    assert (prefix.kind, prefix.values.shape) == (TensorKind.EMBEDDINGS, (3, 8))
    assert np.array_equal(prefix.values, arrays(peft_type)["prompt_embeddings"])


@pytest.mark.parametrize("peft_type", KEY_VALUE_TYPES)
def test_keys_and_values_are_the_stored_matrix_viewed(peft_type: PeftType) -> None:
    prefix = resolve_prefix(checkpoint(peft_type), None, BASE)
    assert (prefix.kind, prefix.values.shape) == (TensorKind.KEY_VALUES, (3, 4, 2, 3))
    assert np.array_equal(prefix.values.reshape(3, -1), arrays(peft_type)["prompt_embeddings"])


def test_a_multitask_choice_is_multiplied_in() -> None:
    stored = arrays(MULTITASK)
    for index in range(4):
        prefix = resolve_prefix(checkpoint(MULTITASK), index, BASE)
        product = stored["prefix_task_cols"][index] @ stored["prefix_task_rows"][index]
        np.testing.assert_allclose(prefix.values, stored["prompt_embeddings"] * product, rtol=1e-5, atol=1e-7)


def test_the_tasks_of_a_multitask_checkpoint_have_digests_of_their_own() -> None:
    digests = {resolve_prefix(checkpoint(MULTITASK), index, BASE).digest for index in range(4)}
    assert len(digests) == 4


@pytest.mark.parametrize("peft_type", PeftType)
def test_values_are_contiguous_float32(peft_type: PeftType) -> None:
    values = resolve_prefix(checkpoint(peft_type), task_index(peft_type), BASE).values
    assert values.dtype == np.float32
    assert values.flags.c_contiguous


def test_a_task_index_is_refused_where_there_is_no_choice() -> None:
    with pytest.raises(InvalidTaskIndex):
        resolve_prefix(checkpoint(), 0, BASE)
