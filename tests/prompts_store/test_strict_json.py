"""Strict JSON: everything that two readers could read differently is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts_store.strict_json import MAX_DEPTH, JsonRefused, canonical, parse_object

_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS
OBJECTS = st.dictionaries(_TEXTS, st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=5))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"a": 1} x',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_malformed_json_is_refused(data: bytes) -> None:
    with pytest.raises(JsonRefused):
        parse_object(data, max_bytes=1_000_000)


def test_the_size_cap_comes_before_parsing() -> None:
    assert parse_object(b'{"a": 1}', max_bytes=8) == {"a": 1}
    with pytest.raises(JsonRefused, match="more than 7 bytes"):
        parse_object(b'{"a": 1}', max_bytes=7)


def test_the_depth_cap_is_exact() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    parse_object(nested(MAX_DEPTH), max_bytes=10_000)
    with pytest.raises(JsonRefused, match="nests deeper"):
        parse_object(nested(MAX_DEPTH + 1), max_bytes=10_000)


@settings(deadline=None)
@given(OBJECTS)
def test_canonical_text_is_read_back_equal(value: dict[str, Any]) -> None:
    assert parse_object(canonical(value).encode(), max_bytes=10**6) == value


@settings(deadline=None)
@given(OBJECTS)
def test_canonical_text_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        value = parse_object(data, max_bytes=100)
    except JsonRefused:
        return
    assert json.loads(data) == value


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "x\\udfffy"])
@pytest.mark.parametrize("form", ['{{"a": "{}"}}', '{{"{}": 1}}', '{{"a": [{{"b": ["{}"]}}]}}'])
def test_text_that_no_database_keeps_is_refused_at_any_depth(text, form):
    with pytest.raises(JsonRefused, match="NUL character or half of a surrogate pair"):
        parse_object(form.format(text).encode(), max_bytes=100)
