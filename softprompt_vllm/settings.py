"""The connector's own settings: `kv_connector_extra_config`, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softprompt_vllm.errors import Unsupported

_FIELDS = ("folder", "capture_key", "max_host_bytes", "max_device_bytes", "front_end_pid")
_MIN_KEY_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """`folder` has files of keys and values (None: no files). Captures need `capture_key` (None: captures are refused).

    Each worker keeps soft prompts of at most `max_host_bytes` in host memory. On a GPU copies of at most
    `max_device_bytes` lie on the device too, outside vLLM's own memory. The engine ends with the process
    `front_end_pid` that started it (0: it does not).
    """

    folder: Path | None = None
    capture_key: str | None = None
    max_host_bytes: int = 4 << 30
    max_device_bytes: int = 256 << 20
    front_end_pid: int = 0


def read_settings(given: Mapping[str, Any]) -> Settings:
    """Read `kv_connector_extra_config`. Raises Unsupported."""
    if unknown := sorted(set(given) - set(_FIELDS)):
        raise Unsupported(f"kv_connector_extra_config has {unknown[0]!r}; its fields are {', '.join(_FIELDS)}")
    folder, key = given.get("folder"), given.get("capture_key")
    if folder is None and key is None:
        raise Unsupported(
            "kv_connector_extra_config names neither a folder of files nor a capture_key; give one of them"
        )
    if folder is not None and not (isinstance(folder, str) and Path(folder).is_dir()):
        raise Unsupported("the folder in kv_connector_extra_config is not an existing folder")
    if key is not None and not (isinstance(key, str) and len(key) >= _MIN_KEY_LENGTH):
        raise Unsupported(f"capture_key has at least {_MIN_KEY_LENGTH} characters; make one with new_capture_key()")
    numbers = {name: _number(name, given[name]) for name in _FIELDS[2:] if name in given}
    return Settings(None if folder is None else Path(folder), key, **numbers)


def _number(name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise Unsupported(f"{name} in kv_connector_extra_config is not a number from 0")
    return value
