"""`softprompt tune` and `softprompt evaluate` on a base model that a test can tune in seconds."""

from __future__ import annotations

import json

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from server.demo import BASE_DIR
from server.tuning.run import TuningRun

ROWS = [
    {"text": text, "label": label}
    for number in range(12)
    for text, label in ((f"a fine day, number {number}", "yes"), (f"a bad day, number {number}", "no"))
]
QUICK = ("--steps", 3, "--batch-size", 4, "--virtual-tokens", 4, "--validate-every", 3)


@pytest.fixture
def examples(tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


# PEFT reads a property that transformers is about to rename.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_run_ends_as_a_version_and_as_a_folder_that_peft_loads(softprompt, examples, data_dir, tmp_path):
    """The store has the version with metrics and provenance; the folder is PEFT's, with manifest and plot beside."""
    folder = tmp_path / "saved"
    code, out, err = softprompt(
        "tune", "mood", "--train", examples, "--data-dir", data_dir, "--save", folder, "--json", *QUICK
    )
    assert code == 0, err
    told = json.loads(out)
    assert (told["version"], told["promoted"]) == (1, True)
    shown = json.loads(softprompt("task", "show", "mood", "--data-dir", data_dir, "--json")[1])["versions"][0]
    assert shown["manifest"]["labels"] == ["yes", "no"]
    assert shown["manifest"]["training_data_digest"]
    assert {"heldout_exact_match", "heldout_n", "learning_rate"} <= shown["manifest"]["metrics"].keys()
    assert (folder / "tuning.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "softprompt-demo"
    assert not (data_dir / "tuning" / "mood.safetensors").exists()
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE_DIR), str(folder))


def test_an_interrupted_run_goes_on_to_the_same_result(softprompt, examples, data_dir, monkeypatch):
    """Ctrl-C keeps the run, says how to go on, and the rest gives the digest of a run that nobody interrupted."""
    whole = json.loads(softprompt("tune", "whole", "--train", examples, "--data-dir", data_dir, "--json", *QUICK)[1])
    pieces = 0
    advance = TuningRun.advance

    def interrupted(run):
        nonlocal pieces
        pieces += 1
        if pieces == 4:
            raise KeyboardInterrupt
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(TuningRun, "advance", interrupted)
        code, _, err = softprompt("tune", "cut", "--train", examples, "--data-dir", data_dir, *QUICK)
    assert code == 130
    assert "the same command with --resume goes on" in err
    resumed = softprompt("tune", "cut", "--train", examples, "--data-dir", data_dir, "--resume", "--json", *QUICK)
    assert json.loads(resumed[1])["digest"] == whole["digest"]
    code, _, err = softprompt("tune", "cut", "--train", examples, "--data-dir", data_dir, "--resume", *QUICK)
    assert (code, "no interrupted run" in err) == (1, True)


def test_a_gate_that_stays_shut_leaves_production_where_it_is(softprompt, examples, data_dir):
    """The version exists, `production` does not move, and a first version does not slip through."""
    shut = ("--min-score", 1.0, "--json")
    first = json.loads(softprompt("tune", "mood", "--train", examples, "--data-dir", data_dir, *QUICK, *shut)[1])
    assert (first["version"], first["promoted"]) == (1, False)
    assert json.loads(softprompt("task", "show", "mood", "--data-dir", data_dir, "--json")[1])["aliases"] == []


def test_evaluate_puts_versions_and_baselines_side_by_side(softprompt, examples, data_dir):
    """Two references, the base model, and the base model told in words; the exit code can be a gate."""
    arguments = ("evaluate", "sentiment", "triage@1", examples, "--data-dir", data_dir, "--instruction", "Good?")
    code, out, err = softprompt(*arguments, "--json")
    assert code == 0, err
    assert [one["name"] for one in json.loads(out)] == ["sentiment@1", "triage@1", "instruction", "base"]
    code, _, err = softprompt("evaluate", "sentiment", examples, "--data-dir", data_dir, "--min-score", "0.9")
    assert code == 1
    assert "below 0.900" in err


def test_the_preview_shows_every_token_and_what_is_learnt(softprompt, examples, data_dir):
    """A person sees the template, the tokens and the end token before anything is trained."""
    code, out, _ = softprompt("tune", "mood", "--train", examples, "--data-dir", data_dir, "--preview", 1)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    learnt = [line[0] for line in lines if line[-1] == "learnt"]
    tokenizer = AutoTokenizer.from_pretrained(BASE_DIR)
    assert tokenizer.decode([int(token) for token in learnt]).endswith("<end>")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no examples"),
        (b'{"text": "a", "label": "x"}\n{"text": "b"}\n', "line 2: has a text but no label"),
        (b'{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n', "same label"),
        (b'{"text": "\xff", "label": "x"}\n', "line 1: is not UTF-8"),
        (b'{"prompt": "a", "completion": "' + b"b " * 600 + b'"}\n{"prompt": "b", "completion": "c"}', "tokens"),
    ],
)
def test_bad_files_are_refused_in_one_line(softprompt, data_dir, tmp_path, content, said):
    """Each says what is wrong and where; nothing is published and no run is kept."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    code, out, err = softprompt("tune", "mood", "--train", path, "--data-dir", data_dir, *QUICK)
    assert (code, out) == (1, "")
    assert said in err.splitlines()[-1]
    assert not (data_dir / "tuning").exists()


def test_hyperparameters_out_of_range_are_named(softprompt, examples, data_dir):
    """The message begins with the one that is wrong."""
    for option, value in (("--virtual-tokens", 0), ("--learning-rate", 1000), ("--method", "LORA"), ("--steps", 0)):
        code, _, err = softprompt("tune", "mood", "--train", examples, "--data-dir", data_dir, option, value)
        assert code != 0
        assert err.startswith("softprompt: ")
