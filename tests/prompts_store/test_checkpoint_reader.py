"""The reader as a whole: whatever the bytes, a checkpoint or InvalidCheckpoint."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts_store.checkpoint import reader
from prompts_store.checkpoint.digests import prefix_digest
from prompts_store.checkpoint.prefix import resolve_prefix
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import PeftType
from prompts_store.errors import InvalidCheckpoint, InvalidTaskIndex, NotFinite
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from tests.prompts_store.checkpoints import (
    BASE,
    NUM_TASKS,
    arrays,
    checkpoint,
    config_bytes,
    container,
    header,
    task_index,
    tensor_bytes,
)

MULTITASK = PeftType.MULTITASK_PROMPT_TUNING
PEFT_TYPES = st.sampled_from(PeftType)


def read(
    config: bytes, tensors: bytes, *, index: int | None = None, serving_dtype: str = "float32"
) -> dict[str, list[float]]:
    base = replace(BASE, serving_dtype=serving_dtype)
    checkpoint = read_checkpoint(
        config, tensors, base, task_index=index, allow_base_mismatch=False, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES
    )
    return {tensor.name: tensor.values.ravel().tolist() for tensor in checkpoint.tensors}


def with_value(value: float) -> bytes:
    tensors = arrays()
    tensors["prompt_embeddings"][1, 2] = value
    return container(header(tensors), tensors["prompt_embeddings"].tobytes())


@pytest.mark.parametrize("peft_type", PeftType)
def test_every_prompt_type_is_read(peft_type: PeftType) -> None:
    read_values = read(config_bytes(peft_type), tensor_bytes(peft_type), index=task_index(peft_type))
    assert read_values == {name: values.ravel().tolist() for name, values in arrays(peft_type).items()}


@pytest.mark.parametrize("serving_dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value: float, serving_dtype: str) -> None:
    with pytest.raises(NotFinite):
        read(config_bytes(), with_value(value), serving_dtype=serving_dtype)


@pytest.mark.parametrize(
    ("serving_dtype", "largest", "too_large"),
    [
        ("float32", 3.4028235e38, math.inf),
        ("float16", 65519.996, 65520.0),
        ("bfloat16", 3.3961773e38, 3.3961775e38),
    ],
)
def test_what_overflows_in_the_serving_dtype_is_refused(serving_dtype: str, largest: float, too_large: float) -> None:
    for sign in (1, -1):
        read(config_bytes(), with_value(sign * largest), serving_dtype=serving_dtype)
        with pytest.raises(NotFinite, match=serving_dtype):
            read(config_bytes(), with_value(sign * too_large), serving_dtype=serving_dtype)


def test_a_multitask_product_may_not_overflow() -> None:
    tensors = {name: np.full_like(values, 300.0) for name, values in arrays(MULTITASK).items()}
    file = container(header(tensors), b"".join(values.tobytes() for _, values in sorted(tensors.items())))
    read(config_bytes(MULTITASK), file, index=0)
    with pytest.raises(NotFinite):
        read(config_bytes(MULTITASK), file, index=0, serving_dtype="float16")


@pytest.mark.parametrize(("peft_type", "index"), [(MULTITASK, None), (MULTITASK, NUM_TASKS), (MULTITASK, -1)])
def test_a_multitask_checkpoint_needs_a_task_index_in_range(peft_type: PeftType, index: int | None) -> None:
    with pytest.raises(InvalidTaskIndex) as refused:
        read(config_bytes(peft_type), tensor_bytes(peft_type), index=index)
    assert refused.value.param == "manifest.task_index"


@pytest.mark.parametrize("peft_type", [peft_type for peft_type in PeftType if peft_type is not MULTITASK])
def test_no_other_type_takes_a_task_index(peft_type: PeftType) -> None:
    with pytest.raises(InvalidTaskIndex):
        read(config_bytes(peft_type), tensor_bytes(peft_type), index=0)


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_random_bytes_are_refused(config: bytes, tensors: bytes) -> None:
    with pytest.raises(InvalidCheckpoint):
        read(config, tensors)
    with pytest.raises(InvalidCheckpoint):
        read(config_bytes(), tensors)


@settings(deadline=None)
@given(PEFT_TYPES, st.data())
def test_a_mutated_file_is_read_or_refused(peft_type: PeftType, data: st.DataObject) -> None:
    """Overwritten, cut and inserted bytes, in the configuration or the tensors, raise nothing but InvalidCheckpoint."""
    files = [config_bytes(peft_type), tensor_bytes(peft_type)]
    which = data.draw(st.integers(0, 1))
    begin = data.draw(st.integers(0, len(files[which])))
    length = data.draw(st.integers(0, 8))
    files[which] = files[which][:begin] + data.draw(st.binary(max_size=8)) + files[which][begin + length :]
    with suppress(InvalidCheckpoint):
        read(files[0], files[1], index=task_index(peft_type))


@settings(deadline=None)
@given(
    PEFT_TYPES,
    st.sampled_from(sorted(["peft_type", "num_virtual_tokens", "token_dim", "num_layers", "num_tasks", "task_type"])),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=4,
    ),
)
def test_a_configuration_of_odd_values_is_read_or_refused(peft_type: PeftType, key: str, value: object) -> None:
    with suppress(InvalidCheckpoint):
        read(config_bytes(peft_type, **{key: value}), tensor_bytes(peft_type), index=task_index(peft_type))


@settings(deadline=None)
@given(PEFT_TYPES, PEFT_TYPES)
def test_the_tensors_of_another_type_are_refused_where_they_differ(told: PeftType, given_type: PeftType) -> None:
    differs = {n: v.shape for n, v in arrays(told).items()} != {n: v.shape for n, v in arrays(given_type).items()}
    try:
        read(config_bytes(told), tensor_bytes(given_type), index=task_index(told))
        assert not differs
    except InvalidCheckpoint:
        assert differs


@pytest.mark.parametrize("peft_type", PeftType)
def test_a_checkpoint_comes_with_what_its_base_sees(peft_type: PeftType) -> None:
    """The prefix is resolved and digested here, and nowhere else on the way to SQL."""
    parsed = checkpoint(peft_type)
    assert (parsed.base, parsed.task_index, parsed.base_name) == (BASE, task_index(peft_type), "tiny/base")
    again = resolve_prefix(parsed, parsed.task_index, BASE)
    assert parsed.prefix.digest == again.digest == prefix_digest(parsed.prefix.kind, parsed.prefix.values)


def test_what_was_checked_and_digested_cannot_be_changed() -> None:
    """Else the digest would be that of other values."""
    for peft_type in PeftType:
        parsed = checkpoint(peft_type)
        for values in (parsed.prefix.values, *(tensor.values for tensor in parsed.tensors)):
            with pytest.raises(ValueError, match="read-only"):
                values[...] = 0


def test_the_name_of_another_base_is_kept_with_the_mismatch() -> None:
    """A publisher may accept it."""
    for name, mismatch in [("", False), ("tiny", False), ("other/base", True)]:
        parsed = checkpoint(base_model_name_or_path=name)
        assert (parsed.base_name, parsed.base_mismatch) == (name, mismatch)


def test_only_the_reader_makes_a_parsed_checkpoint() -> None:
    """So the store need not check one again."""
    root = Path(reader.__file__).parents[2]
    files = [path for package in ("prompts_store", "server") for path in (root / package).rglob("*.py")]
    makers = [path.name for path in files if "ParsedCheckpoint(" in path.read_text(encoding="utf-8")]
    assert sorted(makers) == ["checkpoint_records.py", "reader.py"]
