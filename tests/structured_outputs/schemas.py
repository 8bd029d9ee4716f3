"""Random JSON schemas of the supported subset, and random regular expressions; each has a shortest answer that fits."""

from __future__ import annotations

import random
import string
from typing import Any

_WORDS = ("name", "age", "tags", "city", "note", "kind", "size", "is_new", "é-key", 'a"b')


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A schema whose answers are bounded."""
    makers = [_string, _integer, _number, _enum, _simple, _const]
    if depth < 3:
        makers += [_object, _object, _array, _array, _any_of, _reference]
    return rng.choice(makers)(rng, depth)


def _string(rng: random.Random, depth: int) -> dict[str, Any]:
    kind = rng.randrange(4)
    if kind == 0:
        return {"type": "string", "format": rng.choice(["date", "time", "date-time", "uuid", "ipv4"])}
    if kind == 1:
        return {"type": "string", "pattern": f"^{random_regex(rng)}$"}
    low = rng.randrange(4)
    return {"type": "string", "minLength": low, "maxLength": low + rng.randrange(8)}


def _integer(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randrange(-200, 200)
    schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": low + rng.randrange(1, 500)}
    if rng.random() < 0.2:
        schema = {"type": "integer", "exclusiveMinimum": low, "maximum": low + 20, "multipleOf": rng.choice([2, 5])}
    return schema


def _number(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randrange(-50, 50)
    return {"type": "number", "minimum": low, "maximum": low + rng.randrange(1, 100), "multipleOf": 0.25}


def _enum(rng: random.Random, depth: int) -> dict[str, Any]:
    values = [rng.choice(_WORDS), rng.randrange(100), None, True, {"k": [1, "é"]}, 1.5]
    return {"enum": rng.sample(values, rng.randrange(1, 5))}


def _const(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"const": rng.choice([*_WORDS, 7, False, None, ["a", {"b": 2}]])}


def _simple(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"type": rng.choice(["boolean", "null", ["boolean", "null"]])}


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(_WORDS, rng.randrange(1, 4))
    return {
        "type": "object",
        "properties": {name: random_schema(rng, depth + 1) for name in names},
        "required": [name for name in names if rng.random() < 0.7],
        "additionalProperties": False,
    }


def _array(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randrange(3)
    schema = {"type": "array", "items": random_schema(rng, depth + 1), "minItems": low, "maxItems": low + 2}
    if rng.random() < 0.3:
        schema |= {"prefixItems": [random_schema(rng, depth + 1)], "minItems": 1, "maxItems": 3}
    return schema


def _any_of(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [random_schema(rng, depth + 1) for _ in range(rng.randrange(1, 4))]}


def _reference(rng: random.Random, depth: int) -> dict[str, Any]:
    if depth:
        return random_schema(rng, depth + 1)
    shared = random_schema(rng, depth + 1)
    properties = {"a": {"$ref": "#/$defs/shared"}, "b": random_schema(rng, depth + 1)}
    schema = {"type": "object", "properties": properties, "required": ["a"], "additionalProperties": False}
    return {**schema, "$defs": {"shared": shared}}


def random_regex(rng: random.Random, depth: int = 0) -> str:
    """A regular expression that Python reads alike, whose matches are bounded."""
    parts = []
    for _ in range(rng.randrange(1, 4)):
        one = rng.choice(["[a-f]", "[0-9]", "x", "yes", r"\.", r"[^\W\d_a-z]", "é", " "])
        if depth < 2 and rng.random() < 0.3:
            one = f"({random_regex(rng, depth + 1)}|{random_regex(rng, depth + 1)})"
        elif len(one) > 1 and one[0] != "[" and one[0] != "\\":
            one = f"({one})"
        parts.append(one + rng.choice(["", "", "?", "{2}", "{1,3}"]))
    return "".join(parts)


def random_junk(rng: random.Random) -> dict[str, Any]:
    """A `structured_outputs` that may be anything: broken, out of bounds, or a trap."""
    return rng.choice(_JUNK)(rng)


def _letters(rng: random.Random, most: int) -> str:
    return "".join(rng.choice(string.printable) for _ in range(rng.randrange(1, most)))


def _nested(rng: random.Random) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(rng.randrange(1, 60)):
        schema = {rng.choice(["items", "additionalProperties", "not", "contains"]): schema}
    return {"json": schema}


def _doubling(rng: random.Random) -> dict[str, Any]:
    depth, keyword = rng.randrange(1, 40), rng.choice(["allOf", "anyOf", "oneOf"])
    defs: dict[str, Any] = {
        f"d{at}": {keyword: [{"$ref": f"#/$defs/d{at + 1}"}, {"$ref": f"#/$defs/d{at + 1}"}]} for at in range(depth)
    }
    defs[f"d{depth}"] = {"type": rng.choice(["string", "object"])}
    return {"json": {"$ref": "#/$defs/d0", "$defs": defs}}


def _circle(rng: random.Random) -> dict[str, Any]:
    size = rng.randrange(1, 200)
    wrap = rng.random() < 0.5
    defs: dict[str, Any] = {}
    for at in range(size):
        target = {"$ref": f"#/$defs/d{(at + 1) % size}"}
        defs[f"d{at}"] = {"type": "object", "properties": {"x": target}, "required": ["x"]} if wrap else target
    return {"json": {"$ref": "#/$defs/d0", "$defs": defs}}


def _mutated(rng: random.Random) -> dict[str, Any]:
    schema = random_schema(rng)
    for _ in range(rng.randrange(1, 4)):
        name = rng.choice(
            ["type", "items", "properties", "minLength", "maxItems", "enum", "pattern", "$ref", "required", "format"]
        )
        schema[name] = rng.choice([None, -1, 10**9, [], {}, "x", True, [1], {"a": 1}, "#/x", 1e300, "(" * 50, ["a"]])
    return {"json": schema}


def _regex_trap(rng: random.Random) -> dict[str, Any]:
    number = rng.choice([2, 9, 100, 5000, 10**5, 10**12])
    pieces = ["(a+)+", ".*", f"a{{{number}}}", f"(.{{0,{number}}}x)", "(a|aa)*", "[^x]"]
    pieces += [rng.choice([r"\b", "(?=a)", r"\1", "(", "$"])] if rng.random() < 0.3 else []
    return {"regex": "".join(rng.choice(pieces) for _ in range(rng.randrange(1, 30)))}


def _grammar_trap(rng: random.Random) -> dict[str, Any]:
    size = rng.randrange(1, 1500)
    doubled = "".join(f"{one}: {other} {other}\n" for one, other in zip("abcdefghij", "bcdefghijk", strict=True))
    return {
        "grammar": rng.choice(
            [
                "start: start start | ",
                "start: r0\n" + "".join(f'r{at}: "(" r{at + 1}\n' for at in range(size)) + f'r{size}: "x"',
                "start: T0\n" + "".join(f'T{at}: "(" T{at + 1}\n' for at in range(size)) + f'T{size}: "x"',
                f'start: a a\n{doubled}k: "x"',
                'start: %json {"$ref": "#"}',
                f"start: /{_letters(rng, 40)}/",
                "start: " + "(" * size + '"a"' + ")" * size,
                "root ::= " + _letters(rng, 60),
                _letters(rng, 200),
                "start: A | B\nA: /(.|\\n)*x/\nB: /[^y]{1,900}z/",
            ]
        )
    }


def _large(rng: random.Random) -> dict[str, Any]:
    count = rng.choice([10, 900, 1_100, 5_000])
    kind = rng.randrange(4)
    if kind == 0:
        return {"json": {"enum": [f"value {at} {'x' * rng.randrange(40)}" for at in range(count)]}}
    if kind == 1:
        return {"choice": [f"{at}" * rng.randrange(1, 9) for at in range(count)]}
    if kind == 2:
        properties = {f"p{at}": {"type": "string", "maxLength": at} for at in range(count)}
        return {"json": {"type": "object", "properties": properties, "additionalProperties": rng.random() < 0.5}}
    return {"json": {"type": "string", "pattern": "x" * count, "maxLength": count}}


def _odd(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        [
            {"json": _letters(rng, 80)},
            {"choice": ["", "a"]},
            {"choice": []},
            {"regex": _letters(rng, 120)},
            {"json": {"x-guidance": {"lenient": True}}},
            {"json": {"type": "array", "items": {"type": "array", "items": {}}, "minItems": 10_000}},
            {"regex": "a", "json": {}},
            {"json": "[" * 5_000},
        ]
    )


_JUNK = (_nested, _doubling, _circle, _mutated, _mutated, _regex_trap, _regex_trap, _grammar_trap, _large, _odd)
