"""Which schemas are supported, and the bounds on them."""

from __future__ import annotations

import pytest

from server.structured_outputs.errors import ConstraintRefused
from server.structured_outputs.json_schema import KEYWORDS, check_schema
from server.structured_outputs.limits import StructureLimits

LIMITS = StructureLimits(max_depth=8, max_nodes=50, max_enum=5, max_repetition=100)


def refusal(schema) -> str:
    """The message about a schema."""
    with pytest.raises(ConstraintRefused) as refused:
        check_schema(schema, LIMITS, "here")
    assert refused.value.param == "here"
    return str(refused.value)


@pytest.mark.parametrize(
    "keyword",
    (
        *("not", "if", "contains", "uniqueItems", "propertyNames", "dependentRequired", "unevaluatedProperties"),
        *("x-guidance", "$dynamicRef", "$anchor", "$id", "nullable", "additionalItems", "patternproperties"),
    ),
)
def test_a_keyword_that_nothing_enforces_is_named_with_its_place(keyword):
    """The library that compiles schemas would ignore some of them."""
    assert keyword not in KEYWORDS
    schema = {"properties": {"a": {"anyOf": [{"type": "string"}, {keyword: True}]}}}
    assert refusal(schema) == f"unsupported keywords of the schema at /properties/a/anyOf/1: '{keyword}'"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "text"}, "at /type is not one of"),
        ({"type": []}, "at /type"),
        ({"enum": list(range(6))}, "more than 5 entries"),
        ({"enum": []}, "a list with an entry"),
        ({"maxLength": 101}, "at /maxLength is above 100"),
        ({"items": {"minItems": -1}}, "at /items/minItems is not a number of repetitions"),
        ({"maxItems": True}, "is not a number of repetitions"),
        ({"minimum": "1"}, "at most 18 digits"),
        ({"maximum": 10**30}, "at most 18 digits"),
        ({"multipleOf": 0}, "above 0"),
        ({"format": "iri"}, "not a supported format"),
        ({"pattern": 1}, "not a regular expression"),
        ({"required": [1]}, "a list of names"),
        ({"properties": []}, "is not an object"),
        ({"properties": {"a": 1}}, "at /properties/a is neither"),
        ({"anyOf": {}}, "a list with an entry"),
        (7, "at / is neither"),
        ({"properties": {"a" * 99: {"not": {}}}}, "a…: 'not'"),
    ],
    ids=str,
)
def test_a_value_that_a_keyword_cannot_have_is_refused(schema, words):
    """With its place."""
    assert words in refusal(schema)


def chain(length, end, wrap=lambda target: target):
    """Definitions that refer to one another in a row, then to `end`."""
    defs = {f"d{at}": wrap({"$ref": f"#/$defs/d{at + 1}"}) for at in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": defs | {f"d{length}": end}}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#"}, "leads back to itself"),
        (chain(2, {"anyOf": [{"$ref": "#/$defs/d0"}]}), "leads back to itself"),
        ({"$ref": "#/$defs/none"}, "names nothing"),
        ({"$ref": "#/required/9", "required": ["a"]}, "names nothing"),
        ({"$ref": "https://example.com/schema"}, "a pointer into the schema itself"),
        ({"$ref": "#name"}, "a pointer into the schema itself"),
        ({"$ref": 1}, "a pointer into the schema itself"),
        (chain(20, {"type": "null"}), "a chain of"),
        (chain(6, {"type": "null"}, lambda target: {"allOf": [target, target]}), "more than 50 subschemas"),
    ],
    ids=str,
)
def test_references_that_lead_nowhere_or_too_far_are_refused(schema, words):
    """Circles without content, other documents, and doubling."""
    assert words in refusal(schema)


@pytest.mark.parametrize("levels", [8, 9, 5_000])
def test_depth_is_bounded(levels):
    """Without recursion in the check itself."""
    schema = {"type": "null"}
    for _ in range(levels - 1):
        schema = {"items": schema}
    if levels == 8:
        check_schema(schema, LIMITS, "here")
    else:
        assert "nested deeper than 8" in refusal(schema)


def test_recursion_with_content_is_supported():
    """A tree, and every keyword."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/no~1de"}, "value": True}}
    check_schema({"$ref": "#/%24defs/no~1de", "$defs": {"no/de": node}}, LIMITS, "here")
    check_schema({"prefixItems": [{"const": None}], "items": False, "description": "x", "default": 1}, LIMITS, "here")
