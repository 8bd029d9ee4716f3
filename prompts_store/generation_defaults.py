"""Default generation parameters of a version: which may be set, their types and ranges.

Only what shapes one completion is here. What belongs to one request (`n`, `logprobs`, `echo`, `stream`, `logit_bias`)
has no default, and stop strings have a field of their own in the manifest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from prompts_store.errors import InvalidManifest

MAX_STOP_TOKEN_IDS = 64
_MAX_INT32 = 2**31 - 1
_MAX_INT64 = 2**63 - 1


def parse_defaults(value: object) -> dict[str, Any]:
    """Check a JSON object of generation parameters; a null value is as good as none.

    Numbers that are real by nature come back as float (`1` and `1.0` are one content). Raises InvalidManifest whose
    `param` is `manifest.defaults` or `manifest.defaults.<name>`.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidManifest("defaults is not a JSON object.", param="manifest.defaults")
    if not value.keys() <= _PARAMETERS.keys():
        known = ", ".join(_PARAMETERS)
        raise InvalidManifest(f"defaults has an unknown parameter; known are {known}.", param="manifest.defaults")
    defaults = {name: _parse(name, given) for name, given in value.items() if given is not None}
    if defaults.get("min_tokens", 0) > defaults.get("max_tokens", math.inf):
        raise InvalidManifest("min_tokens is above max_tokens.", param="manifest.defaults.min_tokens")
    return defaults


def _parse(name: str, given: object) -> Any:
    parsed = _PARAMETERS[name](given)
    if parsed is None:
        raise InvalidManifest(f"{name} has a wrong type or is out of range.", param=f"manifest.defaults.{name}")
    return parsed


def _integer(low: int, high: int) -> Callable[[object], int | None]:
    return lambda value: value if type(value) is int and low <= value <= high else None


def _real(low: float, high: float, *, above_low: bool = False) -> Callable[[object], float | None]:
    def parse(value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not low <= value <= high or (above_low and value == low):
            return None
        return float(value) + 0.0  # -0.0 becomes 0.0

    return parse


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _token_ids(value: object) -> list[int] | None:
    if not isinstance(value, list) or len(value) > MAX_STOP_TOKEN_IDS:
        return None
    if not all(type(token_id) is int and 0 <= token_id <= _MAX_INT32 for token_id in value):
        return None
    return sorted(set(value))


# Each parser returns None for a value it refuses.
_PARAMETERS: Mapping[str, Callable[[object], object]] = {
    "max_tokens": _integer(1, _MAX_INT32),
    "min_tokens": _integer(0, _MAX_INT32),
    "temperature": _real(0.0, 2.0),
    "top_p": _real(0.0, 1.0),
    "top_k": _integer(-1, _MAX_INT32),
    "min_p": _real(0.0, 1.0),
    "seed": _integer(-_MAX_INT64 - 1, _MAX_INT64),
    "stop_token_ids": _token_ids,
    "ignore_eos": _flag,
    "presence_penalty": _real(-2.0, 2.0),
    "frequency_penalty": _real(-2.0, 2.0),
    "repetition_penalty": _real(0.0, 10.0, above_low=True),
}
