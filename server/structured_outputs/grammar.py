"""A form as a grammar of llguidance: Lark's syntax with its extensions.

Tokens are never forced (`no_forcing`): the mask is exactly the set of tokens that can continue the form, and the model
chooses among them.
"""

from __future__ import annotations

import json
import re
from typing import Any

from llguidance import regex_to_lark
from llguidance.gbnf_to_lark import gbnf_to_lark

from server.structured_outputs.constraint import Constraint, Form
from server.structured_outputs.errors import ConstraintRefused
from server.structured_outputs.json_schema import check_schema
from server.structured_outputs.limits import StructureLimits

_HEAD = '%llguidance {"no_forcing": true}\n'
_WHITESPACE = r"( |\n[ ]{0,16})?"
"""Between the parts of JSON: nothing, one space, or a new line with an indentation. A model cannot fill its limit."""

_REPETITION = re.compile(r"\{\s*(\d+)\s*(?:,\s*(\d*)\s*)?\}")
_NUMBER = re.compile(r"\d+")
_DIRECTIVE = re.compile(r"%\s*(?:llguidance|json|lark)\b|@")


def grammar_of(constraint: Constraint, limits: StructureLimits, *, after_space: bool) -> str:
    """The grammar of a form, as JSON text for llguidance; `after_space` puts one space before it.

    Raises `ConstraintRefused` for a form that is out of bounds or not supported.
    """
    if len(constraint.source.encode()) > limits.max_bytes:
        raise _refused(constraint, f"is longer than {limits.max_bytes} bytes")
    if constraint.form is Form.GRAMMAR:
        return _of_grammar(constraint, limits, after_space=after_space)
    rule = {Form.JSON: _json_rule, Form.REGEX: _regex_rule, Form.CHOICE: _choice_rule}[constraint.form]
    start = '" " form' if after_space else "form"
    return _grammars({"lark_grammar": f"{_HEAD}start: {start}\nform: {rule(constraint, limits)}"})


def _json_rule(constraint: Constraint, limits: StructureLimits) -> str:
    schema: Any = json.loads(constraint.source)
    check_schema(schema, limits, constraint.param)
    if isinstance(schema, bool):
        schema = {} if schema else {"enum": []}
    return f"%json {json.dumps({**schema, 'x-guidance': {'whitespace_pattern': _WHITESPACE}})}"


def _regex_rule(constraint: Constraint, limits: StructureLimits) -> str:
    source = constraint.source
    if not source:
        raise _refused(constraint, "is empty")
    if len(source.encode()) > limits.max_regex_bytes:
        raise _refused(constraint, f"is longer than {limits.max_regex_bytes} bytes")
    _check_nesting(constraint, limits)
    _check_repetitions(constraint, limits)
    return f"/{regex_to_lark(source, '')}/"


def _choice_rule(constraint: Constraint, limits: StructureLimits) -> str:
    """One regular expression: a choice may begin with another one."""
    choices = json.loads(constraint.source)
    if not choices or not all(choices):
        raise _refused(constraint, "must be a list of texts, none of them empty")
    if len(choices) > limits.max_enum:
        raise _refused(constraint, f"has more than {limits.max_enum} entries")
    return f"/({'|'.join(map(_escaped, choices))})/"


def _of_grammar(constraint: Constraint, limits: StructureLimits, *, after_space: bool) -> str:
    _check_nesting(constraint, limits)
    _check_repetitions(constraint, limits)
    source = constraint.source
    if _DIRECTIVE.search(_without_texts(source)):
        raise _refused(constraint, "must hold rules only: no %llguidance, %json or %lark, and no @")
    if "::=" in source:
        source = _lark_of_gbnf(constraint)
    if not after_space:
        return _grammars({"lark_grammar": _HEAD + source})
    start = {"lark_grammar": f'{_HEAD}start: " " @form'}
    return _grammars(start, {"name": "form", "lark_grammar": source})


def _lark_of_gbnf(constraint: Constraint) -> str:
    """llama.cpp's GBNF, told from Lark by its `::=`, as Lark."""
    try:
        lark = gbnf_to_lark(constraint.source)
    except Exception as error:  # the converter raises what it likes
        raise _refused(constraint, "is not valid GBNF") from error
    return lark.replace("%llguidance {}", "", 1)


def _check_nesting(constraint: Constraint, limits: StructureLimits) -> None:
    depth = 0
    for character in constraint.source:
        depth += (character in "([{") - (character in ")]}")
        if depth > limits.max_depth:
            raise _refused(constraint, f"has brackets nested deeper than {limits.max_depth}")


def _check_repetitions(constraint: Constraint, limits: StructureLimits) -> None:
    for found in _REPETITION.finditer(constraint.source):
        if any(len(number) > 9 or int(number) > limits.max_repetition for number in _NUMBER.findall(found[0])):
            raise _refused(constraint, f"repeats something more than {limits.max_repetition} times")


def _without_texts(source: str) -> str:
    """A grammar without what stands in quotes, in regular expressions' slashes, or in comments."""
    # An open quote reaches to the end of its line. If each quote in it were tried again, the time would be squared.
    return re.sub(r'"(?:[^"\\\n]|\\.)*"?|(?://|#)[^\n]*|/(?:[^/\\\n]|\\.)*/?', '""', source)


def _escaped(text: str) -> str:
    return "".join(one if one.isascii() and one.isalnum() else f"\\x{{{ord(one):x}}}" for one in text)


def _grammars(*grammars: dict[str, str]) -> str:
    return json.dumps({"grammars": grammars})


def _refused(constraint: Constraint, what: str) -> ConstraintRefused:
    return ConstraintRefused(f"the {_NAMES[constraint.form]} {what}", param=constraint.param)


_NAMES = {
    Form.JSON: "schema",
    Form.REGEX: "regular expression",
    Form.CHOICE: "choice",
    Form.GRAMMAR: "grammar",
}
