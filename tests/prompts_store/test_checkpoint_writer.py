"""Export: the two files come back, the same bytes every time."""

from __future__ import annotations

import json

import pytest

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.writer import write_config, write_tensors
from prompts_store.checkpoint_records import PeftType
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint, config, task_index


@pytest.mark.parametrize("peft_type", PeftType)
def test_a_published_checkpoint_is_exported_as_it_came(peft_type: PeftType, store: Store) -> None:
    index = task_index(peft_type)
    store.publish("t", checkpoint(peft_type), Manifest(task_index=index))
    content = store.load_content(BASE.fingerprint, "t", 1)
    config_bytes, tensors_bytes = write_config(content), write_tensors(content.checkpoint)
    assert json.loads(config_bytes) == config(peft_type)
    again = read_checkpoint(
        config_bytes,
        tensors_bytes,
        BASE,
        task_index=index,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )
    assert write_tensors(again) == tensors_bytes == write_tensors(checkpoint(peft_type))
    assert store.publish("t", again, Manifest(task_index=index)).version.version == 1
