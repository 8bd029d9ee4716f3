"""`softprompt distil` on the demo base model: a version, resumed answers, and what is refused."""

from __future__ import annotations

import json

import pytest

from server.cli import INTERRUPTED
from server.cli.tuning import teacher
from server.tuning.distillation.answers import write_answers
from server.tuning.distillation.self_study import write_inputs

ASKED = "Sentiment, positive or negative:"
SHOWN = (
    ("The food was awful and we left early", "negative"),
    ("What a wonderful film, we loved it", "positive"),
    ("a dull book", "negative"),
)
INSTRUCTION = "".join(f"{ASKED} {opinion} ->\n{label}\n" for opinion, label in SHOWN) + ASKED
INPUTS = "".join(
    f"The {thing} was {word}\n"
    for thing in ("food", "hotel", "film", "book")
    for word in ("awful", "wonderful", "boring", "great", "terrible", "lovely")
)
QUICK = ("--steps", 20, "--batch-size", 8, "--virtual-tokens", 16, "--validate-every", 10, "--max-answer-tokens", 4)

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "prompt.txt").write_text(INSTRUCTION)
    (tmp_path / "inputs.txt").write_text(INPUTS)
    return "--instruction", tmp_path / "prompt.txt", "--inputs", tmp_path / "inputs.txt"


def test_a_long_prompt_becomes_a_version_that_answers_without_it(softprompt, files, data_dir, monkeypatch):
    """A stop among the answers loses none of them. The manifest says how near it is, and what it saves."""

    async def stopping(engine, teacher, examples, on_answer, on_progress):
        await write_answers(engine, teacher, examples[:5], on_answer, on_progress)
        raise KeyboardInterrupt

    command = ("distil", "mood", *files, "--data-dir", data_dir, *QUICK)
    with monkeypatch.context() as patched:
        patched.setattr(teacher, "write_answers", stopping)
        assert softprompt(*command)[0] == INTERRUPTED
    code, out, err = softprompt(*command, "--json")
    assert code == 0, err
    assert "the teacher answers 19 inputs; 5 are kept" in err
    told = json.loads(out)
    assert (told["version"], told["promoted"]) == (1, True)
    shown = json.loads(softprompt("task", "show", "mood", "--data-dir", data_dir, "--json")[1])["versions"][0]
    manifest = shown["manifest"]
    assert manifest["template"] == " {input} ->\n", "the instruction is not in it"
    assert manifest["defaults"] == {"temperature": 0.0, "max_tokens": 4}
    metrics = manifest["metrics"]
    assert metrics["divergence"] < 0.8 * metrics["divergence_at_start"]
    assert metrics["agreement"] >= max(0.6, metrics["agreement_at_start"])
    assert metrics["tokens_saved"] > 30
    assert {"exact_match", "prompt_tokens_before", "prompt_tokens_after", "num_empty_answers"} <= metrics.keys()
    assert not list(data_dir.glob("tuning/*/mood/*"))


def test_the_prompts_of_teacher_and_student_are_shown_and_nothing_is_made(softprompt, files, data_dir):
    """`--preview` asks the teacher for nothing."""
    code, out, err = softprompt("distil", "mood", *files, "--data-dir", data_dir, "--preview", 1)
    assert code == 0, err
    assert "teacher: " in out
    assert "student: " in out
    assert "virtual tokens, then" in out


def test_without_inputs_the_base_model_writes_them(softprompt, files, data_dir, monkeypatch):
    """A stop among the drafts loses none of them. The same command ends with the same inputs."""

    async def stopping(engine, writer, count, drafts, on_progress):
        await write_inputs(engine, writer, 4, drafts, on_progress)
        raise KeyboardInterrupt

    command = ("distil", "mood", *files[:2], "--num-inputs", 20, "--data-dir", data_dir, *QUICK)
    with monkeypatch.context() as patched:
        patched.setattr(teacher, "write_inputs", stopping)
        assert softprompt(*command)[0] == INTERRUPTED
    code, out, err = softprompt(*command, "--json")
    assert code == 0, err
    assert "the base model writes 20 inputs; 4 drafts are kept" in err
    assert "the teacher answers 20 inputs" in err
    metrics = json.loads(out)["metrics"]
    assert (metrics["num_training_examples"], metrics["num_validation_examples"]) == (18, 2)
    assert metrics["divergence"] < metrics["divergence_at_start"]
    assert not list(data_dir.glob("tuning/*/mood/*"))


def test_inputs_that_would_be_written_are_shown(softprompt, files, data_dir):
    """`--preview` lets the base model write as many as it shows, and keeps nothing."""
    code, out, err = softprompt("distil", "mood", *files[:2], "--data-dir", data_dir, "--preview", 2)
    assert code == 0, err
    assert "line 2, teacher: " in out
    assert not list(data_dir.glob("tuning/*/mood/*"))


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"),
    [
        ("prompt.txt", " \n", (), "instruction is empty: there is nothing to distil"),
        ("inputs.txt", "\n\n", (), "the file has no inputs: every line is empty"),
        ("inputs.txt", "same\n" * 20, (), "the file has 1 different inputs, and a distillation needs 10"),
        ("prompt.txt", "a good word " * 600, (), "instruction takes"),
        ("prompt.txt", "one line", ("--virtual-tokens", 40), "num_virtual_tokens is 40, and the instruction has"),
        ("inputs.txt", "one\n", ("--num-inputs", 9), "num_inputs is from 10 to 100000"),
        ("inputs.txt", INPUTS, ("--method", "P_TUNING"), "method is P_TUNING, which cannot start from the instruction"),
    ],
)
def test_what_cannot_be_distilled_is_refused_in_one_sentence(
    softprompt, files, data_dir, tmp_path, name, content, options, sentence
):
    """And nothing is half made."""
    (tmp_path / name).write_text(content)
    code, _, err = softprompt("distil", "mood", *files, "--data-dir", data_dir, *options)
    assert code == 1
    assert sentence in err
    assert len(err.strip().splitlines()) <= 3
    assert not list(data_dir.glob("tuning/*/mood/*.safetensors"))
