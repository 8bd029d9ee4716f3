"""Forms in vLLM's process: what fails there lets every token pass, and the server's own matcher finds it."""

from __future__ import annotations

from dataclasses import replace

from server.engine.errors import StepFailed, StructureFailed
from server.engine.events import RequestFailed
from server.engine.vllm.core_forms import CoreForms
from server.engine.vllm.forms import Forms
from tests.engine.vllm.conftest import generate
from tests.structured_outputs.forms import LETTERS, compiled, tokens_in

END = frozenset({0})


def allowed(forms, grammar):
    """The tokens that may come next."""
    bitmask = forms.allocate_token_bitmask(2)
    if not grammar.is_terminated():
        grammar.fill_bitmask(bitmask, 1)
    assert bitmask[0].tolist() == [-1]
    return tokens_in(bitmask[1].numpy(), LETTERS.num_tokens)


async def begin(folder, **form):
    """A grammar that vLLM's process made of what the server wrote and sent."""
    forms = CoreForms(folder, LETTERS.num_tokens)
    described = await Forms(folder).described(compiled(**form))
    return forms, forms.begin(described, END).result()


async def test_masks_are_those_of_our_own_engine(tmp_path):
    """To the end: after it, every token passes."""
    forms, grammar = await begin(tmp_path, regex="ab|abc", after_space=True)
    found = [allowed(forms, grammar)]
    for token in (9, 5, 0):
        assert grammar.accept_tokens("id", [token])
        forms.fill()
        found.append(allowed(forms, grammar))
    assert found == [[9, 11], [1, 5, 10], [0, 3], list(range(13))]


async def test_a_form_is_compiled_once(tmp_path, monkeypatch):
    """And kept, for all answers of it."""
    forms, first = await begin(tmp_path, regex="a+b")
    monkeypatch.setattr("server.engine.vllm.core_forms.compile_constraint", None)
    described = await Forms(tmp_path).described(compiled(regex="a+b"))
    assert allowed(forms, forms.begin(described, END).result()) == allowed(forms, first)


async def test_what_fails_there_ends_no_request_there(tmp_path):
    """A file that is gone, a token that does not fit, a form that cannot go on."""
    described = await Forms(tmp_path).described(compiled(regex="a\u00e9"))
    elsewhere = CoreForms(tmp_path / "nothing", LETTERS.num_tokens)
    broken = elsewhere.begin(described, END).result()
    assert allowed(elsewhere, broken) == list(range(13)) and broken.accept_tokens("id", [3])
    forms, grammar = await begin(tmp_path, regex="a\u00e9")
    assert grammar.accept_tokens("id", [1])
    assert not grammar.is_terminated() and allowed(forms, grammar) == list(range(13)) and grammar.is_terminated()
    forms, grammar = await begin(tmp_path, regex="ab")
    assert grammar.accept_tokens("id", [3]) and grammar.is_terminated()


async def test_the_server_finds_what_failed_there(make_face, monkeypatch):
    """The request fails; the next one is answered."""
    face = await make_face()
    asked = generate("a", max_tokens=20)
    asked = replace(asked, kind=replace(asked.kind, constraint=compiled(regex="[ab]{4,9}")))
    with monkeypatch.context() as patch:
        patch.setattr("server.engine.vllm.core_forms.compile_constraint", None)
        events = await face.ask(asked)
    assert isinstance(events[-1], RequestFailed) and isinstance(events[-1].cause, StructureFailed)
    assert not isinstance((await face.ask(replace(asked, request_id="b")))[-1], RequestFailed)


async def test_a_full_disk_fails_the_request_alone(make_face, monkeypatch):
    """Vocabularies are written again by the next one."""
    face = await make_face()
    asked = generate("a", max_tokens=20)
    asked = replace(asked, kind=replace(asked.kind, constraint=compiled(regex="[ab]{4,9}")))
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", lambda path, content: (_ for _ in ()).throw(OSError("full")))
        events = await face.ask(asked)
    assert isinstance(events[-1], RequestFailed) and isinstance(events[-1].cause, StepFailed)
    assert not isinstance((await face.ask(replace(asked, request_id="b")))[-1], RequestFailed)
