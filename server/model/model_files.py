"""The files of a base model's folder that transformers loads, in its order of preference (5.0 to 5.23)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from transformers.configuration_utils import get_configuration_file
from transformers.utils.hub import cached_file

from server.model.errors import BaseModelUnavailable
from server.model.gguf.base_file import SUFFIX

CONFIG = "config.json"
_ADAPTER_CONFIG = "adapter_config.json"
_INDEX_SUFFIX = ".index.json"
# The first that exists is loaded; an earlier save may have left others.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_DISTRIBUTED_SHARD = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")


def check_files(source: str, revision: str | None) -> None:
    """Refuse adapters and shards that transformers would load instead of the weights, and a folder of GGUF files.

    Raises `BaseModelUnavailable`.
    """
    if _exists(source, revision, _ADAPTER_CONFIG):
        if not _exists(source, revision, CONFIG):
            raise BaseModelUnavailable(
                f"{source!r} is an adapter that PEFT saved, not a base model: name its base model"
            )
        raise BaseModelUnavailable(
            f"{source!r} holds an adapter ({_ADAPTER_CONFIG}) beside the base model: move the adapter to a folder of "
            "its own, or merge it into the weights"
        )
    names = sorted(os.listdir(source)) if os.path.isdir(source) else []
    if CONFIG not in names and (files := [name for name in names if name.lower().endswith(SUFFIX)]):
        raise BaseModelUnavailable(
            f"{source!r} holds a GGUF file and no {CONFIG}: name the file itself, {os.path.join(source, files[0])!r}"
        )
    if any(_DISTRIBUTED_SHARD.fullmatch(name) for name in names):
        raise BaseModelUnavailable(
            f"{source!r} holds shards of a distributed checkpoint: load it with transformers and save it in one piece"
        )


def _exists(source: str, revision: str | None, name: str) -> bool:
    try:
        find_file(source, revision, name)
    except OSError:
        return False
    return True


def find_file(source: str, revision: str | None, name: str) -> Path:
    """The local path of one file, from a folder or the hub's cache (fetched where it is missing). Raises OSError."""
    path = cached_file(source, name, revision=revision)
    if path is None:
        raise FileNotFoundError(name)
    return Path(path)


def read_config(source: str, revision: str | None) -> Mapping[str, Any]:
    """The configuration as stored; `config.json` may name another file for newer releases of transformers.

    Raises OSError and ValueError.
    """
    config = _read_object(find_file(source, revision, CONFIG))
    if named := config.get("configuration_files"):
        config = _read_object(find_file(source, revision, get_configuration_file(named)))
    return config


def weight_files(source: str, revision: str | None, config: Mapping[str, Any]) -> list[Path]:
    """The files that hold the weights, shards in order of their names.

    Raises OSError and ValueError, which name the file that is missing, unreadable or outside the folder.
    """
    named = config.get("transformers_weights")
    for name in _WEIGHTS if named is None else (named,):
        try:
            path = find_file(source, revision, name)
        except OSError:
            continue
        return _shards(source, revision, path) if name.endswith(_INDEX_SUFFIX) else [path]
    raise FileNotFoundError(f"there are no weights: none of {', '.join(_WEIGHTS if named is None else (named,))}")


def stored_weight_files(source: str, revision: str | None) -> list[Path]:
    """`weight_files` of a source whose configuration is read too. Raises `BaseModelUnavailable`."""
    try:
        return weight_files(source, revision, read_config(source, revision))
    except (OSError, ValueError) as error:
        raise BaseModelUnavailable(f"the files of {source!r} cannot be read") from error


def _shards(source: str, revision: str | None, index: Path) -> list[Path]:
    weight_map = _read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{index.name} maps no tensors to files")
    return [_shard(source, revision, index, name) for name in sorted(set(weight_map.values()))]


def _shard(source: str, revision: str | None, index: Path, name: str) -> Path:
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{index.name} names {name!r}, which is not in the folder of the index")
    try:
        return find_file(source, revision, name)
    except OSError as error:
        raise FileNotFoundError(f"{index.name} names {name!r}, which is missing: download or copy it again") from error


def _read_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{file.name} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{file.name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file.name} is no JSON object")
    return value
