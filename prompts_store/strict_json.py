"""JSON from outside, read strictly: UTF-8, one object, no duplicate key, no NaN or infinity, bounded size and depth."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 16
STORABLE = re.compile(r"[^\0\ud800-\udfff]*")


class JsonRefused(ValueError):
    """The bytes are not the JSON object asked for. The message is written for the caller."""


def parse_object(data: bytes, *, max_bytes: int) -> dict[str, Any]:
    """Parse one JSON object (RFC 8259). Raises JsonRefused."""
    if len(data) > max_bytes:
        raise JsonRefused(f"has more than {max_bytes} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except JsonRefused:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonRefused("is not valid JSON") from error
    if not isinstance(value, dict):
        raise JsonRefused("is not a JSON object")
    check_depth(value)
    check_texts(value)
    return value


def canonical(value: object) -> str:
    """Serialise with sorted keys, no white space and ASCII only: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def check_depth(value: object) -> None:
    """Raise JsonRefused if containers nest deeper than MAX_DEPTH."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise JsonRefused(f"nests deeper than {MAX_DEPTH} levels")


def check_texts(value: object) -> None:
    """Raise JsonRefused where a text or a key holds NUL or half of a surrogate pair: no database keeps these."""
    nodes: list[Any] = [value]
    while nodes:
        node = nodes.pop()
        nodes.extend(_children(node))
        texts = node if isinstance(node, dict) else (node,)
        if not all(STORABLE.fullmatch(text) for text in texts if isinstance(text, str)):
            raise JsonRefused("holds a NUL character or half of a surrogate pair")


def _children(node: object) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        raise JsonRefused("has a duplicate key")
    return parsed


def _refuse_constant(_: str) -> NoReturn:
    raise JsonRefused("holds NaN or infinity")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonRefused("holds a number that is too large")
    return number
