"""`adapter_config.json`, read strictly: the prompt type, and the names and shapes of its tensors.

Keys as PEFT 0.3 to 0.21 write them (`PromptLearningConfig`). A key that no answer depends on may have any value, or
be missing.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prompts_store.base_names import MAX_BASE_NAME_LENGTH, is_base_name, is_folder_of, is_tail_of
from prompts_store.checkpoint.head import check_saved_modules
from prompts_store.checkpoint.layouts import LAYOUTS, Counts
from prompts_store.checkpoint.task_types import check_task_type
from prompts_store.checkpoint_records import BaseKind, BaseModel, PeftType, TaskType, num_submodules_of
from prompts_store.errors import (
    BaseMismatch,
    MalformedConfig,
    ShapeMismatch,
    UnsupportedPeftType,
    UnsupportedTaskType,
)
from prompts_store.limits import MAX_CONFIG_BYTES
from prompts_store.strict_json import JsonRefused, parse_object

PARAM = "adapter_config"

_QUOTABLE = re.compile(r"[A-Za-z0-9./~][A-Za-z0-9._/-]{0,95}")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The fields of `adapter_config.json` that the reader needs. `raw` is the whole parsed object.

    `base_name` is the base model that it names, "" if none. `base_mismatch` says that it is another one's name.
    """

    peft_type: PeftType
    task_type: TaskType | None
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
    raw = _parse(data)
    peft_type = _peft_type(raw)
    task_type = _task_type(raw, peft_type, base)
    has_tasks = LAYOUTS[peft_type].has_tasks
    counts = Counts(
        num_virtual_tokens=_num_virtual_tokens(peft_type, raw),
        num_tasks=_count_or_one(raw, "num_tasks") if has_tasks else 0,
        num_ranks=_count_or_one(raw, "num_ranks") if has_tasks else 0,
        num_submodules=_num_submodules(raw, base),
    )
    _check_contents(peft_type, task_type, counts, raw, base)
    _check_fits(peft_type, counts, raw, base)
    name = _base_name(raw)
    mismatch = bool(name) and not _names_base(name, base.names, follow_links=follow_links)
    if mismatch and not allow_base_mismatch:
        raise _another_base(name, base)
    return AdapterConfig(peft_type, task_type, counts, name, mismatch, raw)


def read_peft_type(data: bytes) -> PeftType:
    """Return the prompt type of a configuration, whose other fields are not checked.

    Raises MalformedConfig and UnsupportedPeftType.
    """
    return _peft_type(_parse(data))


def may_have_head(data: bytes) -> bool:
    """Return whether a configuration is for a task type with a head. Raises MalformedConfig for what is no JSON."""
    value = _parse(data).get("task_type")
    return isinstance(value, str) and value in set(TaskType) and TaskType(value).has_head


def _parse(data: bytes) -> dict[str, Any]:
    try:
        # Editors on Windows write a byte order mark, which is no part of the JSON.
        return parse_object(data.removeprefix(codecs.BOM_UTF8), max_bytes=MAX_CONFIG_BYTES)
    except JsonRefused as error:
        raise MalformedConfig(f"adapter_config.json {error}.", param=PARAM) from error


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
        types = ", ".join(PeftType)
        message = f"adapter_config.json has no peft_type. Write how the prompt was trained: one of {types}."
        raise MalformedConfig(message, param=PARAM)
    try:
        return PeftType(value)
    except ValueError:
        meant = re.sub(r"\W", "_", value.rpartition(".")[2]).upper()  # as str() of PEFT's own enumeration, for example
        if meant in set(PeftType):
            message = f'peft_type is not written as PEFT writes it; it must be "{meant}".'
            raise UnsupportedPeftType(message, param=PARAM) from None
        types = ", ".join(PeftType)
        message = f"{_quoted(value, 'This PEFT type')} is not a soft prompt; supported are {types}."
        raise UnsupportedPeftType(message, param=PARAM) from None


def _task_type(raw: Mapping[str, Any], peft_type: PeftType, base: BaseModel) -> TaskType | None:
    value = raw.get("task_type")
    if not isinstance(value, str | None):
        raise MalformedConfig("task_type is not a text.", param=PARAM)
    try:
        task_type = TaskType(value) if value is not None else None
    except ValueError:
        types = ", ".join(TaskType)
        message = f"{_quoted(str(value), 'Its value')} is not a supported task_type; supported are {types}."
        raise UnsupportedTaskType(message, param=PARAM) from None
    check_task_type(task_type, peft_type, base)
    return task_type


def _num_submodules(raw: Mapping[str, Any], base: BaseModel) -> int:
    if _optional_count(raw, "num_transformer_submodules") == 2 and base.kind is not BaseKind.ENCODER_DECODER:
        message = "num_transformer_submodules is 2, which is for an encoder-decoder; the base model is none."
        raise UnsupportedTaskType(message, param=PARAM)
    num_submodules = num_submodules_of(raw)
    if num_submodules > 2:
        raise MalformedConfig("num_transformer_submodules must be 1 or 2.", param=PARAM)
    return num_submodules


def _check_contents(
    peft_type: PeftType, task_type: TaskType | None, counts: Counts, raw: Mapping[str, Any], base: BaseModel
) -> None:
    if task_type is not None and task_type.has_head:
        check_saved_modules(raw.get("modules_to_save"), base.heads[task_type], task_type)
    elif raw.get("modules_to_save"):
        message = "modules_to_save changes the base model, which is frozen; train without it."
        raise MalformedConfig(message, param=PARAM)
    key = LAYOUTS[peft_type].token_ids
    token_ids = None if key is None else raw.get(key)
    if isinstance(token_ids, list) and len(token_ids) != counts.num_virtual_tokens:
        num_tokens = len(token_ids)
        message = (
            f"num_virtual_tokens is {counts.num_virtual_tokens}, but {key} has {num_tokens} entries, which PEFT "
            f"counts. Set num_virtual_tokens to {num_tokens} if the tensors have as many rows."
        )
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
            message = f"{key} is {found}; the base model needs {needed}. Serve the base model that it was trained on."
            raise ShapeMismatch(message, param=PARAM)


def _num_virtual_tokens(peft_type: PeftType, raw: Mapping[str, Any]) -> int:
    """Return the number of virtual tokens. PEFT counts the listed tokens itself, where the type lists any."""
    key = LAYOUTS[peft_type].token_ids
    token_ids = None if key is None else raw.get(key)
    if raw.get("num_virtual_tokens") is None and isinstance(token_ids, list) and token_ids:
        return len(token_ids)
    count = _optional_count(raw, "num_virtual_tokens")
    if count is None:
        message = "num_virtual_tokens is missing. Write it into adapter_config.json: the rows of prompt_embeddings."
        raise MalformedConfig(message, param=PARAM)
    return count


def _count_or_one(raw: Mapping[str, Any], key: str) -> int:
    """Return a number that PEFT takes for 1 where the key is missing, but not where it is null."""
    count = _optional_count(raw, key) if key in raw else 1
    if count is None:
        raise MalformedConfig(f"{key} is null; write the number, or leave the key out if it is 1.", param=PARAM)
    return count


def _optional_count(raw: Mapping[str, Any], key: str) -> int | None:
    value = raw.get(key)
    if value is not None and (type(value) is not int or value < 1):
        raise MalformedConfig(f"{key} is not a positive integer; write a number such as 20.", param=PARAM)
    return value


def _quoted(value: str, otherwise: str) -> str:
    """Return a short, harmless word in quotes; for anything else return `otherwise`."""
    return f'"{value}"' if _QUOTABLE.fullmatch(value) else otherwise
