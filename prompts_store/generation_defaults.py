"""Default generation parameters of a version: the allowed ones, their types and ranges.

These are the parameters that shape one completion. Parameters of one request (`n`, `logprobs`, `echo`, `stream`,
`logit_bias`) have no default. Stop strings are a field of their own in the manifest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prompts_store.answer_form import ALLOWED_FORM, parse_form
from prompts_store.errors import InvalidManifest

MAX_STOP_TOKEN_IDS = 64
_MAX_INT32 = 2**31 - 1
_MAX_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Rule:
    """A parser, which returns None for a value that is not allowed, and the allowed values in words."""

    parse: Callable[[object], object]
    allowed: str


def parse_defaults(value: object) -> dict[str, Any]:
    """Check a JSON object of generation parameters. A null value counts as left out.

    Real parameters are returned as float, so `1` and `1.0` are one content. Raises InvalidManifest whose `param` is
    `manifest.defaults` or `manifest.defaults.<name>`.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidManifest("defaults is not a JSON object.", param="manifest.defaults")
    if not value.keys() <= _PARAMETERS.keys():
        known = ", ".join(_PARAMETERS)
        raise InvalidManifest(f"defaults has an unknown parameter; allowed are {known}.", param="manifest.defaults")
    defaults = {name: _parse(name, given) for name, given in value.items() if given is not None}
    if defaults.get("min_tokens", 0) > defaults.get("max_tokens", math.inf):
        message = (
            f"min_tokens is {defaults['min_tokens']}, but max_tokens is {defaults['max_tokens']}; lower min_tokens."
        )
        raise InvalidManifest(message, param="manifest.defaults.min_tokens")
    return defaults


def _parse(name: str, given: object) -> Any:
    rule = _PARAMETERS[name]
    parsed = rule.parse(given)
    if parsed is None:
        raise InvalidManifest(f"{name} must be {rule.allowed}.", param=f"manifest.defaults.{name}")
    return parsed


def _integer(low: int, high: int) -> _Rule:
    def parse(value: object) -> int | None:
        return value if type(value) is int and low <= value <= high else None

    return _Rule(parse, f"an integer from {low} to {high}")


def _real(low: float, high: float, *, above_low: bool = False) -> _Rule:
    def parse(value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not low <= value <= high or (above_low and value == low):
            return None
        return float(value) + 0.0  # -0.0 becomes 0.0

    allowed = f"above {low:g} and at most {high:g}" if above_low else f"from {low:g} to {high:g}"
    return _Rule(parse, f"a number {allowed}")


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _token_ids(value: object) -> list[int] | None:
    if not isinstance(value, list) or len(value) > MAX_STOP_TOKEN_IDS:
        return None
    if not all(type(token_id) is int and 0 <= token_id <= _MAX_INT32 for token_id in value):
        return None
    return sorted(set(value))


_PARAMETERS: Mapping[str, _Rule] = {
    "max_tokens": _integer(1, _MAX_INT32),
    "min_tokens": _integer(0, _MAX_INT32),
    "temperature": _real(0.0, 2.0),
    "top_p": _real(0.0, 1.0),
    "top_k": _integer(-1, _MAX_INT32),
    "min_p": _real(0.0, 1.0),
    "seed": _integer(-_MAX_INT64 - 1, _MAX_INT64),
    "stop_token_ids": _Rule(_token_ids, f"a list of at most {MAX_STOP_TOKEN_IDS} token ids"),
    "ignore_eos": _Rule(_flag, "true or false"),
    "presence_penalty": _real(-2.0, 2.0),
    "frequency_penalty": _real(-2.0, 2.0),
    "repetition_penalty": _real(0.0, 10.0, above_low=True),
    "structured_outputs": _Rule(parse_form, ALLOWED_FORM),
}
