"""Compiling: off the event loop, once at a time, kept within bounds."""

from __future__ import annotations

import asyncio
import threading

import pytest

from server.structured_outputs import compiler as module
from server.structured_outputs.compiler import ConstraintCompiler
from server.structured_outputs.constraint import Constraint, Form, read_constraint
from server.structured_outputs.errors import CompilerBusy, ConstraintRefused, MatcherFailed, VocabularyUnsupported
from server.structured_outputs.limits import StructureLimits
from server.structured_outputs.vocabulary import Vocabulary
from tests.structured_outputs.forms import LETTERS


def regex(source: str, param: str = "here") -> Constraint:
    """A form by a regular expression."""
    return Constraint(Form.REGEX, source, param)


async def compiled(compiler, source):
    """Such a form, compiled."""
    return await compiler.compile(regex(source), is_continued=True)


async def refusal(compiler, **form) -> str:
    """The message about a form."""
    with pytest.raises(ConstraintRefused) as refused:
        await compiler.compile(read_constraint({"structured_outputs": form}), is_continued=True)
    return str(refused.value)


async def test_a_form_is_compiled_once_for_all_who_wait(monkeypatch):
    """On a thread of its own; and not again while it is kept."""
    threads = []
    compile_now = module.compile_constraint

    def counted(*args, **kwargs):
        threads.append(threading.current_thread().name)
        return compile_now(*args, **kwargs)

    monkeypatch.setattr(module, "compile_constraint", counted)
    compiler = ConstraintCompiler(lambda: LETTERS)
    first, *others = await asyncio.gather(*(compiled(compiler, "a+") for _ in range(5)))
    assert all(other is first for other in [*others, await compiled(compiler, "a+")])
    assert [name.startswith("structured-outputs") for name in threads] == [True]


async def test_what_is_kept_is_bounded():
    """By entries and by bytes; what was used last stays."""
    compiler = ConstraintCompiler(lambda: LETTERS, StructureLimits(max_entries=2, max_kept_bytes=100))
    a, _ = await compiled(compiler, "a"), await compiled(compiler, "b")
    assert await compiled(compiler, "a") is a
    await compiled(compiler, "c")
    assert await compiled(compiler, "a") is a
    await compiled(compiler, "a" * 100)
    assert await compiled(compiler, "a") is not a


async def test_too_many_that_wait_are_sent_away(monkeypatch):
    """And one that takes too long is refused; those before it go on."""
    gate = threading.Event()
    compile_now = module.compile_constraint
    monkeypatch.setattr(module, "compile_constraint", lambda *args, **how: (gate.wait(), compile_now(*args, **how))[1])
    compiler = ConstraintCompiler(lambda: LETTERS, StructureLimits(max_waiting=1, max_compile_s=0.05))
    with pytest.raises(ConstraintRefused, match=r"longer than 0\.05 s"):
        await compiled(compiler, "a")
    with pytest.raises(CompilerBusy):
        await compiled(compiler, "b")
    gate.set()
    while compiler._open:
        await asyncio.sleep(0.01)
    assert (await compiled(compiler, "a")).constraint.source == "a"


async def test_a_form_that_has_failed_is_compiled_again():
    """Its automaton has outgrown its bounds for every answer."""
    compiler = ConstraintCompiler(lambda: LETTERS)
    first = await compiled(compiler, "a+")
    with pytest.raises(MatcherFailed):
        first.matcher(frozenset()).consume(2)
    assert await compiled(compiler, "a+") is not first


async def test_a_vocabulary_that_cannot_be_described_refuses_every_form():
    """With the reason."""

    def fail() -> Vocabulary:
        raise VocabularyUnsupported("the tokenizer is odd")

    assert await refusal(ConstraintCompiler(fail), regex="a") == "the tokenizer is odd"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"regex": "a" * 5_000}, "longer than 4096 bytes"),
        ({"regex": "(" * 40 + "a" + ")" * 40}, "nested deeper than 32"),
        ({"regex": "a{3,20000}"}, "more than 10000 times"),
        ({"regex": ""}, "is empty"),
        ({"regex": r"(a)\1"}, "back-references"),
        ({"regex": "(?=a)a"}, "look-around"),
        ({"grammar": "start: " + "(/a{0,99}/ | /b/)? " * 3_000}, "too complex"),
        ({"regex": "é"}, "no token of the base model can write"),
        ({"grammar": "start: ("}, "is not valid"),
        ({"grammar": "root ::= ("}, "not valid"),
        ({"grammar": 'start: %json {"type": "string"}'}, "rules only"),
        ({"grammar": '%llguidance {"no_forcing": false}\nstart: "a"'}, "rules only"),
        ({"grammar": "start: @other"}, "rules only"),
        ({"grammar": '"\\' * 32_000}, "is not valid"),
        ({"grammar": "x" * 70_000}, "longer than 65536 bytes"),
        ({"choice": [str(number) for number in range(1_001)]}, "more than 1000 entries"),
        ({"choice": ["a", ""]}, "none of them empty"),
        ({"json": {"type": "integer", "minimum": 5, "maximum": 1}}, "cannot be met"),
        ({"json": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}, "branches that overlap"),
        ({"json": "[" * 50_000}, "not JSON"),
        ({"json": "[" * 100_000}, "longer than 65536 bytes"),
        ({"json": {"enum": [1] * 100_000}}, "longer than 65536 bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_breach_of_a_bound_is_named(form, words):
    """By the bounds of a server."""
    assert words in await refusal(ConstraintCompiler(lambda: LETTERS), **form)


async def test_a_chain_of_definitions_fits_the_compiling_thread():
    """A thousand of them overflowed a usual stack."""
    defs = {f"d{at}": {"properties": {"x": {"$ref": f"#/$defs/d{at + 1}"}}} for at in range(1_000)}
    schema = {"$ref": "#/$defs/d0", "$defs": defs | {"d1000": {"type": "null"}}}
    printable = Vocabulary([b"<e>", *(bytes([byte]) for byte in range(32, 127))], special=[0], ends=[0])
    constraint = read_constraint({"structured_outputs": {"json": schema}})
    compiler = ConstraintCompiler(lambda: printable, StructureLimits(max_symbols=100_000))
    assert (await compiler.compile(constraint, is_continued=True)).first_mask.any()
