"""`adapter_config.json`, read strictly: the prompt type, and the names and shapes of its tensors.

Keys as PEFT 0.18 to 0.21 write them (`PromptLearningConfig`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prompts_store.base_names import MAX_BASE_NAME_LENGTH, is_base_name, is_folder_of, is_tail_of
from prompts_store.checkpoint.layouts import LAYOUTS, Counts
from prompts_store.errors import (
    BaseMismatch,
    MalformedConfig,
    ShapeMismatch,
    UnsupportedPeftType,
    UnsupportedTaskType,
)
from prompts_store.limits import MAX_CONFIG_BYTES
from prompts_store.records import BaseModel, PeftType
from prompts_store.strict_json import JsonRefused, parse_object

PARAM = "adapter_config"

_QUOTABLE = re.compile(r"[A-Za-z0-9./~][A-Za-z0-9._/-]{0,95}")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The fields of `adapter_config.json` that the reader needs. `raw` is the whole parsed object.

    `base_name` is the base model that it names, "" if none. `base_mismatch` says that it is another one's name.
    """

    peft_type: PeftType
    counts: Counts
    base_name: str
    base_mismatch: bool
    raw: Mapping[str, Any]


def read_config(
    data: bytes, base: BaseModel, *, allow_base_mismatch: bool, follow_links: bool = False
) -> AdapterConfig:
    """Parse and check the configuration against the base model.

    `follow_links` also compares the name with the base model's folder by the files of this machine. A client elsewhere
    must not cause that.

    Raises MalformedConfig, UnsupportedPeftType, UnsupportedTaskType, ShapeMismatch and BaseMismatch.
    """
    try:
        raw = parse_object(data, max_bytes=MAX_CONFIG_BYTES)
    except JsonRefused as error:
        raise MalformedConfig(f"adapter_config.json {error}.", param=PARAM) from error
    peft_type = _peft_type(raw)
    _check_task(raw)
    has_tasks = LAYOUTS[peft_type].has_tasks
    counts = Counts(
        num_virtual_tokens=_required_count(raw, "num_virtual_tokens"),
        num_tasks=_required_count(raw, "num_tasks") if has_tasks else 0,
        num_ranks=_required_count(raw, "num_ranks") if has_tasks else 0,
    )
    _check_contents(peft_type, counts, raw)
    _check_fits(peft_type, counts, raw, base)
    name = _base_name(raw)
    mismatch = bool(name) and not _names_base(name, base.names, follow_links=follow_links)
    if mismatch and not allow_base_mismatch:
        raise _another_base(name, base)
    return AdapterConfig(peft_type, counts, name, mismatch, raw)


def _names_base(name: str, names: Sequence[str], *, follow_links: bool) -> bool:
    return is_base_name(name, names) or is_tail_of(name, names) or (follow_links and is_folder_of(name, names))


def _another_base(name: str, base: BaseModel) -> BaseMismatch:
    found, own = _quoted(name, "another base model"), _quoted("".join(base.names[:1]), "another one")
    return BaseMismatch(
        f"The checkpoint names {found} as its base; the base model here is {own}. Shapes cannot show whether both are "
        "the same. If they are, set allow_base_mismatch (--allow-base-mismatch), or add the name to the server "
        "(--base-name).",
        param=PARAM,
    )


def _base_name(raw: Mapping[str, Any]) -> str:
    name = raw.get("base_model_name_or_path")
    if name is None:
        return ""
    if not isinstance(name, str) or len(name) > MAX_BASE_NAME_LENGTH or not name.isprintable():
        message = f"base_model_name_or_path is not a printable text of at most {MAX_BASE_NAME_LENGTH} characters."
        raise MalformedConfig(message, param=PARAM)
    return name


def _peft_type(raw: Mapping[str, Any]) -> PeftType:
    value = raw.get("peft_type")
    if not isinstance(value, str):
        raise MalformedConfig("adapter_config.json has no peft_type.", param=PARAM)
    try:
        return PeftType(value)
    except ValueError:
        types = ", ".join(PeftType)
        message = f"{_quoted(value, 'This PEFT type')} is not a soft prompt; supported are {types}."
        raise UnsupportedPeftType(message, param=PARAM) from None


def _check_task(raw: Mapping[str, Any]) -> None:
    task_type = raw.get("task_type")
    if raw.get("num_transformer_submodules") == 2 or task_type == "SEQ_2_SEQ_LM":
        raise UnsupportedTaskType(
            "The checkpoint is for a sequence-to-sequence model (SEQ_2_SEQ_LM); only CAUSAL_LM is supported.",
            param=PARAM,
        )
    if task_type is not None and not isinstance(task_type, str):
        raise MalformedConfig("task_type is not a text.", param=PARAM)
    if task_type not in (None, "CAUSAL_LM"):
        quoted = _quoted(task_type, "Its value")
        raise UnsupportedTaskType(f"{quoted} is not a supported task_type; only CAUSAL_LM is.", param=PARAM)
    if _optional_count(raw, "num_transformer_submodules") not in (None, 1):
        raise MalformedConfig("num_transformer_submodules must be 1.", param=PARAM)


def _check_contents(peft_type: PeftType, counts: Counts, raw: Mapping[str, Any]) -> None:
    if raw.get("modules_to_save"):
        message = "modules_to_save changes the base model, which is frozen; train without it."
        raise MalformedConfig(message, param=PARAM)
    key = LAYOUTS[peft_type].token_ids
    token_ids = None if key is None else raw.get(key)
    if isinstance(token_ids, list) and len(token_ids) != counts.num_virtual_tokens:
        message = f"num_virtual_tokens is {counts.num_virtual_tokens}, but {key} has {len(token_ids)} entries."
        raise MalformedConfig(message, param=PARAM)


def _check_fits(peft_type: PeftType, counts: Counts, raw: Mapping[str, Any], base: BaseModel) -> None:
    if counts.num_virtual_tokens >= base.max_context:
        num_tokens = counts.num_virtual_tokens
        message = f"num_virtual_tokens is {num_tokens}; the maximum is {base.max_context - 1}, one below the context."
        raise ShapeMismatch(message, param=PARAM)
    if counts.num_ranks > base.hidden_size:
        message = f"num_ranks is {counts.num_ranks}; the base model's hidden size is {base.hidden_size}."
        raise ShapeMismatch(message, param=PARAM)
    for key, allowed in LAYOUTS[peft_type].base_numbers(base).items():
        found = _optional_count(raw, key)
        if found is not None and allowed and found not in allowed:
            needed = " or ".join(map(str, sorted(allowed)))
            raise ShapeMismatch(f"{key} is {found}; the base model needs {needed}.", param=PARAM)


def _required_count(raw: Mapping[str, Any], key: str) -> int:
    count = _optional_count(raw, key)
    if count is None:
        raise MalformedConfig(f"{key} is missing.", param=PARAM)
    return count


def _optional_count(raw: Mapping[str, Any], key: str) -> int | None:
    value = raw.get(key)
    if value is not None and (type(value) is not int or value < 1):
        raise MalformedConfig(f"{key} is not a positive integer.", param=PARAM)
    return value


def _quoted(value: str, otherwise: str) -> str:
    """Return a short, harmless word in quotes; for anything else return `otherwise`."""
    return f'"{value}"' if _QUOTABLE.fullmatch(value) else otherwise
