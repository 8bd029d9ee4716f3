"""`adapter_config.json`: each way in which it can be wrong has its own error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prompts_store.checkpoint.config_reader import read_config
from prompts_store.checkpoint_records import PeftType
from prompts_store.errors import (
    BaseMismatch,
    InvalidCheckpoint,
    MalformedConfig,
    ShapeMismatch,
    UnsupportedPeftType,
    UnsupportedTaskType,
)
from prompts_store.limits import MAX_CONFIG_BYTES
from tests.prompts_store.checkpoints import BASE, config, config_bytes

MULTITASK = PeftType.MULTITASK_PROMPT_TUNING
PREFIX = PeftType.PREFIX_TUNING


def without(key: str, peft_type: PeftType = PeftType.PROMPT_TUNING) -> bytes:
    fields = config(peft_type)
    del fields[key]
    return json.dumps(fields).encode()


@pytest.mark.parametrize("peft_type", PeftType)
def test_every_prompt_type_is_read(peft_type: PeftType) -> None:
    read = read_config(config_bytes(peft_type), BASE, allow_base_mismatch=False)
    assert (read.peft_type, read.counts.num_virtual_tokens, read.raw) == (peft_type, 3, config(peft_type))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"peft_type": None}, MalformedConfig),
        ({"peft_type": 1}, MalformedConfig),
        ({"peft_type": "LORA"}, UnsupportedPeftType),
        ({"peft_type": "prompt_tuning"}, UnsupportedPeftType),
        ({"task_type": "SEQ_2_SEQ_LM"}, UnsupportedTaskType),
        ({"task_type": "SEQ_CLS"}, UnsupportedTaskType),
        ({"task_type": ["CAUSAL_LM"]}, MalformedConfig),
        ({"task_type": {}}, MalformedConfig),
        ({"num_transformer_submodules": 2}, UnsupportedTaskType),
        ({"num_transformer_submodules": 3}, MalformedConfig),
        ({"num_transformer_submodules": 1.0}, MalformedConfig),
        ({"num_virtual_tokens": None}, MalformedConfig),
        ({"num_virtual_tokens": True}, MalformedConfig),
        ({"num_virtual_tokens": 0}, MalformedConfig),
        ({"num_virtual_tokens": -3}, MalformedConfig),
        ({"num_virtual_tokens": 3.0}, MalformedConfig),
        ({"num_virtual_tokens": "3"}, MalformedConfig),
        ({"num_virtual_tokens": BASE.max_context}, ShapeMismatch),
        ({"num_virtual_tokens": 2**60}, ShapeMismatch),
        ({"token_dim": 16}, ShapeMismatch),
        ({"token_dim": 0}, MalformedConfig),
        ({"token_dim": "8"}, MalformedConfig),
        ({"num_layers": 3}, ShapeMismatch),
        ({"num_layers": []}, MalformedConfig),
        ({"num_attention_heads": -1}, MalformedConfig),
        ({"modules_to_save": ["lm_head"]}, MalformedConfig),
        ({"base_model_name_or_path": 3}, MalformedConfig),
        ({"base_model_name_or_path": "a\nb"}, MalformedConfig),
        ({"base_model_name_or_path": "\ud800"}, MalformedConfig),
        ({"base_model_name_or_path": "x" * 2000}, MalformedConfig),
        ({"base_model_name_or_path": "other/base"}, BaseMismatch),
    ],
)
def test_a_wrong_key_is_refused(changes: dict[str, Any], error: type[InvalidCheckpoint]) -> None:
    with pytest.raises(error) as refused:
        read_config(config_bytes(**changes), BASE, allow_base_mismatch=False)
    assert type(refused.value) is error
    assert refused.value.param == "adapter_config"


@pytest.mark.parametrize(
    ("peft_type", "changes", "error"),
    [
        (PREFIX, {"token_dim": 7}, ShapeMismatch),
        (PREFIX, {"num_attention_heads": 3}, ShapeMismatch),
        (PREFIX, {"num_attention_heads": 8}, ShapeMismatch),
        (PeftType.CARTRIDGE, {"num_layers": 1}, ShapeMismatch),
        (MULTITASK, {"num_tasks": 0}, MalformedConfig),
        (MULTITASK, {"num_tasks": None}, MalformedConfig),
        (MULTITASK, {"num_ranks": True}, MalformedConfig),
        (MULTITASK, {"num_ranks": BASE.hidden_size + 1}, ShapeMismatch),
        (PeftType.CPT, {"cpt_token_ids": [1, 2]}, MalformedConfig),
    ],
)
def test_a_wrong_key_of_one_type_is_refused(
    peft_type: PeftType, changes: dict[str, Any], error: type[InvalidCheckpoint]
) -> None:
    with pytest.raises(error):
        read_config(config_bytes(peft_type, **changes), BASE, allow_base_mismatch=False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"peft_type": "PROMPT_TUNING", "peft_type": "PROMPT_TUNING"}',
        b'{"peft_type": NaN}',
        b'{"peft_type": ' + b"[" * 100_000,
        b"\x80\x04\x95",
        b" " * MAX_CONFIG_BYTES + b"{}",
    ],
)
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedConfig):
        read_config(data, BASE, allow_base_mismatch=False)


@pytest.mark.parametrize("key", ["peft_type", "num_virtual_tokens"])
def test_what_must_be_there_is_missed(key: str) -> None:
    with pytest.raises(MalformedConfig, match=key):
        read_config(without(key), BASE, allow_base_mismatch=False)


@pytest.mark.parametrize(
    "key",
    ["task_type", "token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules", "modules_to_save"],
)
def test_what_the_shapes_say_anyway_may_be_missing(key: str) -> None:
    assert read_config(without(key), BASE, allow_base_mismatch=False).counts.num_virtual_tokens == 3


def test_an_unsupported_type_is_named_only_if_it_is_harmless() -> None:
    with pytest.raises(UnsupportedPeftType, match=r'^"LORA" is not a soft prompt'):
        read_config(config_bytes(peft_type="LORA"), BASE, allow_base_mismatch=False)
    for hostile in ("<script>", "x" * 5000, "a\nb"):
        with pytest.raises(UnsupportedPeftType) as refused:
            read_config(config_bytes(peft_type=hostile), BASE, allow_base_mismatch=False)
        assert hostile not in str(refused.value)


def test_another_base_is_accepted_on_the_publishers_word() -> None:
    other = config_bytes(base_model_name_or_path="other/base")
    with pytest.raises(BaseMismatch, match="other/base"):
        read_config(other, BASE, allow_base_mismatch=False)
    assert read_config(other, BASE, allow_base_mismatch=True).counts.num_virtual_tokens == 3


@pytest.mark.parametrize("name", [None, "", "tiny"])
def test_no_name_or_any_name_of_the_base_is_accepted(name: str | None) -> None:
    read_config(config_bytes(base_model_name_or_path=name), BASE, allow_base_mismatch=False)


@pytest.mark.parametrize(
    "name",
    [
        "tiny/base/",
        "./tiny",
        "tiny/",
        "/home/me/hub/models--tiny--base/snapshots/0123abc",
        "/srv/bases/tiny/",
        "/srv/bases/../bases/tiny",
        "bases/tiny",
        "../tiny",
    ],
)
def test_another_spelling_of_the_bases_name_is_accepted(name: str) -> None:
    """It is no mismatch, and is kept as it stands in the file."""
    base = replace(BASE, names=(*BASE.names, "/srv/bases/tiny"))
    read = read_config(config_bytes(base_model_name_or_path=name), base, allow_base_mismatch=False)
    assert (read.base_name, read.base_mismatch) == (name, False)


def test_links_are_followed_only_for_a_user_of_this_machine(tmp_path: Path) -> None:
    """A client elsewhere must not learn what links exist here."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "current").symlink_to("tiny")
    base = replace(BASE, names=("tiny", str(tmp_path / "tiny")))
    linked = config_bytes(base_model_name_or_path=str(tmp_path / "current"))
    with pytest.raises(BaseMismatch):
        read_config(linked, base, allow_base_mismatch=False)
    assert not read_config(linked, base, allow_base_mismatch=False, follow_links=True).base_mismatch


@pytest.mark.parametrize(
    ("name", "quoted"), [("/content/model/", '"/content/model/"'), ("<b>", "another base model"), ("~/m", '"~/m"')]
)
def test_a_mismatch_says_both_names_and_both_ways_out(name: str, quoted: str) -> None:
    """The shapes do not tell two bases of one size apart."""
    with pytest.raises(BaseMismatch) as refused:
        read_config(config_bytes(base_model_name_or_path=name), BASE, allow_base_mismatch=False)
    message = str(refused.value)
    assert f"The checkpoint names {quoted} as its base" in message
    assert '"tiny/base"' in message
    for way_out in ("allow_base_mismatch", "--allow-base-mismatch", "--base-name"):
        assert way_out in message


@pytest.mark.parametrize("peft_type", [PREFIX, PeftType.CARTRIDGE])
def test_keys_and_values_need_a_base_whose_layers_agree(peft_type: PeftType) -> None:
    with pytest.raises(ShapeMismatch, match="layers differ"):
        read_config(config_bytes(peft_type), replace(BASE, num_kv_heads=None), allow_base_mismatch=False)


@pytest.mark.parametrize("peft_type", [PREFIX, PeftType.CARTRIDGE])
@pytest.mark.parametrize("changes", [{}, {"num_attention_heads": 2}, {"token_dim": 6}, {"num_attention_heads": None}])
def test_keys_and_values_may_have_the_whole_models_numbers(peft_type: PeftType, changes: dict[str, Any]) -> None:
    """PEFT overwrites width and heads on a base with grouped queries."""
    whole = {"num_attention_heads": 4, "token_dim": BASE.hidden_size} | changes
    read_config(config_bytes(peft_type, **whole), BASE, allow_base_mismatch=False)


def test_a_wrong_width_is_refused_with_every_right_one() -> None:
    """Of the keys and values, and of the whole model."""
    with pytest.raises(ShapeMismatch, match=r"^token_dim is 7; the base model needs 6 or 8\."):
        read_config(config_bytes(PREFIX, token_dim=7), BASE, allow_base_mismatch=False)


def test_cpt_may_have_the_numbers_of_any_model() -> None:
    """PEFT forgets them at load, and takes those of the model."""
    changes = {"token_dim": 9, "num_layers": 5, "num_attention_heads": 7}
    read_config(config_bytes(PeftType.CPT, **changes), BASE, allow_base_mismatch=False)
