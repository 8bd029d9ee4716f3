"""`softprompt distil --document` on the demo base model: questions, a cartridge, and what is refused."""

from __future__ import annotations

import json

import pytest

from server.cli import INTERRUPTED
from server.cli.tuning import teacher
from server.tuning.distillation import questions
from server.tuning.distillation.self_study import write_inputs

DOCUMENT = "\n\n".join(
    f"The {place} of Orrinmoor was built in {1700 + number}. Its keeper is {name}."
    for number, (place, name) in enumerate(
        (("bridge", "Oskar Lund"), ("mill", "Lea Marchetti"), ("school", "Wanda Ibsley"), ("museum", "Bertil Ross"))
    )
)
QUICK = ("--num-inputs", 12, "--steps", 6, "--batch-size", 4, "--virtual-tokens", 24, "--max-answer-tokens", 4)

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "report.txt"
    path.write_text(DOCUMENT)
    return path


def test_a_document_becomes_a_cartridge(softprompt, document, data_dir, monkeypatch):
    """A stop among the questions loses none. The demo base model writes no sentences: its drafts are completed here."""
    drafted = []

    def completed(ask, written):
        drafted.append(ask)
        return f"{ask.opening} {len(ask.chunk.split())} {ask.chunk[:20]} {len(set(drafted))}"

    async def stopping(engine, writer, count, drafts, on_progress):
        await write_inputs(engine, writer, 5, drafts, on_progress)
        raise KeyboardInterrupt

    monkeypatch.setattr(questions, "message_of", completed)
    command = ("distil", "town", "--document", document, "--data-dir", data_dir, *QUICK)
    with monkeypatch.context() as patched:
        patched.setattr(teacher, "write_inputs", stopping)
        assert softprompt(*command)[0] == INTERRUPTED
    assert len(drafted) == 5
    code, out, err = softprompt(*command, "--json")
    assert code == 0, err
    assert "the base model writes 12 inputs; 5 drafts are kept" in err
    assert "the teacher answers 12 inputs" in err
    assert len(drafted) == 12
    assert json.loads(out)["version"] == 1
    shown = json.loads(softprompt("task", "show", "town", "--data-dir", data_dir, "--json")[1])["versions"][0]
    assert (shown["peft_type"], shown["num_virtual_tokens"]) == ("CARTRIDGE", 24)
    metrics = shown["manifest"]["metrics"]
    assert metrics["method"] == "CARTRIDGE"
    assert metrics["tokens_saved"] > 50
    assert {"agreement", "divergence", "exact_match"} <= metrics.keys()
    assert not list(data_dir.glob("tuning/*/town/*"))


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (" \n", (), "document is empty: there is nothing to distil"),
        ("One line.", (), "tokens, and a cartridge is for 64 or more"),
        (DOCUMENT * 9, (), "tokens with a question of usual length, and there is room for"),
        (DOCUMENT, ("--virtual-tokens", 400), "num_virtual_tokens is 400, and the document has"),
        (DOCUMENT, ("--num-inputs", 3), "num_inputs is from 10 to"),
        (DOCUMENT, ("--inputs", "x.txt"), "leave out --inputs and --validation"),
        (DOCUMENT, ("--instruction", "x.txt"), "give --instruction, or --document"),
    ],
)
def test_what_is_no_document_is_refused_in_one_sentence(softprompt, document, data_dir, text, options, sentence):
    """And nothing is half made."""
    document.write_text(text)
    code, _, err = softprompt("distil", "town", "--document", document, "--data-dir", data_dir, *options)
    assert code != 0
    assert sentence in err
    assert len(err.strip().splitlines()) <= 4
    assert not list(data_dir.glob("tuning/*/town/*.safetensors"))


def test_a_base_model_that_asks_nothing_makes_no_version(softprompt, document, data_dir):
    """The demo base model writes no questions of use by itself."""
    code, _, err = softprompt("distil", "town", "--document", document, "--data-dir", data_dir, "--num-inputs", 10)
    assert code == 1
    assert "there are 0 different inputs after 40 drafts of the base model, and a distillation needs 10" in err
    assert softprompt("task", "show", "town", "--data-dir", data_dir)[0] != 0


def test_a_document_that_is_no_text_is_refused(softprompt, document, data_dir):
    """Its bytes are not UTF-8."""
    document.write_bytes(b"\xff\xfe\x00")
    code, _, err = softprompt("distil", "town", "--document", document, "--data-dir", data_dir)
    assert code == 1
    assert "document is not UTF-8" in err
