"""`softprompt tune` and `softprompt evaluate` on a base model that a test can tune in seconds."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from server.cli import main
from server.cli.tuning import local
from server.cli.tuning.conclusion import conclude
from server.demo import BASE_DIR
from server.model.runner import ModelRunner
from server.tuning.errors import EvaluationFailed, TuningDiverged
from server.tuning.run import TuningRun
from server.tuning.scores import Scores

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
    assert {"exact_match", "num_examples", "base_exact_match"} <= shown["manifest"]["metrics"].keys()
    assert shown["manifest"]["parent_version"] is None
    assert (folder / "tuning.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "softprompt-demo"
    assert not list(data_dir.glob("tuning/*/mood/*"))
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE_DIR), str(folder))


def test_the_next_version_names_the_one_that_it_follows(softprompt, examples, data_dir):
    """What was in production when it was judged, promoted or not; the multiplier of its rate is on record too."""
    tune = ("tune", "mood", "--train", examples, "--data-dir", data_dir, *QUICK)
    for seed in (1, 2, 3):
        more = ("--seed", seed, "--learning-rate-multiplier", seed)
        assert softprompt(*tune, *more)[0] == 0
    shown = json.loads(softprompt("task", "show", "mood", "--data-dir", data_dir, "--json")[1])["versions"]
    assert [version["manifest"]["parent_version"] for version in shown[::-1]] == [None, 1, 1]
    metrics = [version["manifest"]["metrics"] for version in shown[::-1]]
    assert [one["learning_rate_multiplier"] for one in metrics] == [1, 2, 3]


def test_an_interrupted_run_goes_on_to_the_same_result(softprompt, examples, data_dir, monkeypatch):
    """Ctrl-C keeps the run, says how to go on, and the rest gives the digest of a run that nobody interrupted."""
    whole = json.loads(softprompt("tune", "whole", "--train", examples, "--data-dir", data_dir, "--json", *QUICK)[1])
    pieces = 0
    advance = TuningRun.advance

    def interrupted(run):
        nonlocal pieces
        pieces += 1
        if pieces == 4:
            signal.raise_signal(signal.SIGINT)
        return advance(run)

    cut = ("tune", "cut", "--train", examples, "--data-dir", data_dir, *QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(TuningRun, "advance", interrupted)
        code, _, err = softprompt(*cut)
    assert code == 130
    assert "the same command resumes the run" in err
    code, _, err = softprompt(*cut, "--resume", "--seed", 9)
    assert (code, "no interrupted run of this command" in err, "other examples, settings" in err) == (1, True, True)
    code, out, err = softprompt(*cut, "--json")
    assert err.startswith("2 of 24 examples are held out for validation\nresuming after step ")
    assert json.loads(out)["digest"] == whole["digest"]
    code, _, err = softprompt(*cut, "--resume")
    assert (code, "no interrupted run" in err) == (1, True)


def raising(error):
    def call(*_, **__):
        raise error

    return call


def test_an_engine_that_fails_in_the_evaluation_is_one_line_and_the_run_is_kept(
    softprompt, examples, data_dir, monkeypatch, tmp_path
):
    """What was learnt is not lost: it is in the folder, and the same command judges and publishes it without training
    again."""
    folder = tmp_path / "saved"
    cut = ("tune", "cut", "--train", examples, "--data-dir", data_dir, "--save", folder, *QUICK)
    with monkeypatch.context() as patch:

        def conclude_on_a_broken_engine(*arguments):
            patch.setattr(ModelRunner, "forward", raising(RuntimeError("secret")))
            return conclude(*arguments)

        patch.setattr(local, "conclude", conclude_on_a_broken_engine)
        code, out, err = softprompt(*cut)
    assert (code, out) == (1, "")
    assert err.splitlines()[-3:] == [
        f"saved in {folder}",
        "softprompt: the run is saved; the same command resumes it after its last step",
        "softprompt: the engine failed while cut (new) was evaluated",
    ]
    assert (folder / "adapter_model.safetensors").exists()
    saved = json.loads((folder / "manifest.json").read_text())["metrics"]
    assert saved["not_evaluated"] == "the engine failed while cut (new) was evaluated"
    code, out, err = softprompt(*cut)
    assert code == 0, err
    assert "resuming after step 3 of 3" in err
    assert "cut@1" in out


def test_a_task_deleted_while_it_is_tuned_does_not_come_back_by_itself(softprompt, examples, data_dir, monkeypatch):
    """The result is kept; who runs the same command after that wants the task."""
    cut = ("tune", "cut", "--train", examples, "--data-dir", data_dir, *QUICK)
    assert softprompt(*cut, "--seed", 1)[0] == 0
    with monkeypatch.context() as patch:

        def conclude_after_a_deletion(*arguments):
            assert main(["task", "delete", "cut", "--data-dir", str(data_dir), "--yes"]) == 0
            return conclude(*arguments)

        patch.setattr(local, "conclude", conclude_after_a_deletion)
        code, _, err = softprompt(*cut)
    assert code == 1
    assert err.splitlines()[-2:] == [
        "softprompt: the run is saved; the same command resumes it after its last step",
        'softprompt: The task "cut" was deleted while it was tuned, so nothing is published to it.',
    ]
    assert softprompt("task", "show", "cut", "--data-dir", data_dir)[0] == 1
    code, out, err = softprompt(*cut)
    assert code == 0, err
    assert "resuming after step 3 of 3" in err
    assert "cut@2, in production" in out


def test_a_version_in_production_that_cannot_be_scored_keeps_the_gate_shut(softprompt, examples, data_dir, monkeypatch):
    """The result is published beside it, with its own scores; the base model's are left out where they fail too."""
    tune = ("tune", "mood", "--train", examples, "--data-dir", data_dir, *QUICK)
    assert softprompt(*tune)[0] == 0
    monkeypatch.setattr("server.cli.tuning.scoring.evaluate", failing_for("mood@1", "base"))
    code, out, err = softprompt(*tune, "--seed", 5, "--not-worse", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["version"], told["promoted"]) == (2, False)
    assert [one["name"] for one in told["scores"]] == ["mood (new)"]
    assert told["news"][0] == (
        "the gate stays shut: there is no score of mood@1 to compare with: the engine failed on mood@1"
    )


def test_evaluate_shows_the_scores_that_there_are(softprompt, examples, data_dir, monkeypatch):
    monkeypatch.setattr("server.cli.tuning.scoring.evaluate", failing_for("triage@1"))
    code, out, err = softprompt("evaluate", "sentiment", "triage", examples, "--data-dir", data_dir)
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["sentiment@1", "base"]
    assert err.splitlines()[-1] == "softprompt: the engine failed on triage@1"


def failing_for(*names):
    """An evaluation that fails for these candidates, and scores any other."""

    async def evaluate(engine, tokenizer, candidate, examples, **_):
        if candidate.name in names:
            raise EvaluationFailed(f"the engine failed on {candidate.name}", code="engine_failed")
        return Scores(candidate.name, len(examples), 1.0, 1.0, 1.0, 1.5)

    return evaluate


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_result(softprompt, examples, data_dir):
    """kill -9 in mid-run: the same command goes on from the last checkpoint, to the digest of an undisturbed run."""
    plan = ("--steps", 40, "--batch-size", 4, "--virtual-tokens", 4, "--validate-every", 10, "--checkpoint-s", 0.1)
    killed = ("tune", "killed", "--train", examples, "--data-dir", data_dir, *plan)
    program = "import sys; from server.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *map(str, killed)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while not (kept := list(data_dir.glob("tuning/*/killed/*.safetensors"))):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    code, out, err = softprompt(*killed, "--json")
    assert code == 0, err
    went_on = re.search(r"resuming after step (\d+) of 40", err)
    assert went_on is not None
    assert int(went_on[1]) < 40
    whole = softprompt("tune", "whole", "--train", examples, "--data-dir", data_dir, *plan, "--json")
    assert json.loads(out)["digest"] == json.loads(whole[1])["digest"]
    assert not kept[0].exists()


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


@pytest.fixture
def chat_base(tmp_path):
    """Make a folder of the demo base model with a chat template."""

    def make(template):
        folder = tmp_path / "base"
        shutil.copytree(BASE_DIR, folder)
        (folder / "chat_template.jinja").write_text(template)
        return folder

    return make


@pytest.fixture
def conversations(tmp_path):
    """Examples of two answers each."""
    said = [("user", "hi"), ("assistant", "one"), ("user", "more"), ("assistant", "two")]
    path = tmp_path / "conversations.jsonl"
    with path.open("w") as file:
        for number in range(8):
            messages = [{"role": role, "content": f"{content} {number}"} for role, content in said]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def test_the_preview_shows_each_answer_of_a_conversation(softprompt, conversations, chat_base, data_dir):
    """Each with what was said before it; only the answer itself is marked."""
    base = chat_base("{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}[assistant]")
    arguments = ("tune", "mood", "--train", conversations, "--data-dir", data_dir, "--base-model", base, "--preview", 2)
    code, out, err = softprompt(*arguments)
    assert code == 0, err
    heads = [line.partition(":")[0] for line in out.splitlines() if line.startswith("line ")]
    assert [head.partition(", ")[2] for head in heads] == ["answer 1 of 2", "answer 2 of 2"]
    tokenizer = AutoTokenizer.from_pretrained(BASE_DIR)
    second = out[out.index("answer 2 of 2") :].splitlines()[2:]
    learnt = tokenizer.decode([int(line.split()[0]) for line in second if line.endswith("learnt")])
    assert learnt.startswith("two ")
    assert learnt.endswith("<end>")


@pytest.mark.parametrize(
    ("options", "expected"), [((), "[user] bright[assistant]"), (("--template", "{input} ->"), "bright ->")]
)
def test_texts_go_through_the_chat_template_of_an_instruct_base(
    softprompt, tmp_path, chat_base, data_dir, options, expected
):
    """The preview shows it; a template of the command's own replaces it."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text, "completion": "x"}) + "\n" for text in ("bright", "dull")))
    base = chat_base("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}[assistant]")
    arguments = ("tune", "mood", "--train", path, "--data-dir", data_dir)
    code, out, err = softprompt(*arguments, "--base-model", base, "--preview", 1, *options)
    assert code == 0, err
    shown = [int(line.split()[0]) for line in out.splitlines() if re.match(r"\s*\d+ ", line)]
    assert expected in AutoTokenizer.from_pretrained(BASE_DIR).decode(shown)


def test_a_chat_template_of_no_use_is_said_at_start(softprompt, conversations, chat_base, data_dir, caplog):
    """What needs it is refused with the reason; what does not need it goes on."""
    base = chat_base("{% for m in messages %}")
    tune = ("tune", "mood", "--data-dir", data_dir, "--base-model", base, "--preview", 1)
    code, _, err = softprompt(*tune, "--train", conversations)
    assert code == 1
    assert "no valid Jinja (line 1): chats are refused" in caplog.text
    assert "no valid Jinja" in err.splitlines()[-1]
    assert "line " in err.splitlines()[-1]


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
    code, _, err = softprompt(
        "tune", "mood", "--train", examples, "--data-dir", data_dir, "--init-text", "a", "--init", "random"
    )
    assert code != 0
    assert err.startswith("softprompt: init_text goes with the initialisation TEXT only")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--virtual-tokens", 200), "this server keeps room for 160"),
        (("--method", "P_TUNING", "--virtual-tokens", 161), "this server keeps room for 160"),
        (("--max-tokens", 100_000), "max_tokens cannot be served"),
    ],
)
def test_what_could_never_be_served_is_said_before_it_is_learnt(
    softprompt, examples, data_dir, monkeypatch, options, said
):
    """The very bounds of `serve` with the same environment; no run is begun."""
    monkeypatch.setenv("SOFTPROMPT_NUM_KV_BLOCKS", "20")
    monkeypatch.setattr(TuningRun, "advance", raising(AssertionError("it learns")))
    code, out, err = softprompt("tune", "mood", "--train", examples, "--data-dir", data_dir, *QUICK, *options)
    assert (code, out) == (1, "")
    assert said in err.splitlines()[-1]
    assert not (data_dir / "tuning").exists()


def test_a_held_out_example_that_the_cache_never_holds_is_said_before_anything_is_learnt(
    softprompt, examples, data_dir, tmp_path, monkeypatch
):
    """With its line."""
    monkeypatch.setenv("SOFTPROMPT_NUM_KV_BLOCKS", "6")
    monkeypatch.setattr(TuningRun, "advance", raising(AssertionError("it learns")))
    judged = tmp_path / "judged.jsonl"
    rows = [{"text": "fine", "label": "yes"}, {"text": "a day " * 60, "label": "no"}]
    judged.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = softprompt(
        "tune", "mood", "--train", examples, "--validation", judged, "--data-dir", data_dir, *QUICK
    )
    assert code == 1
    assert "line 2: could never be answered here: this server's KV cache holds 96 tokens" in err.splitlines()[-1]


def test_training_examples_that_no_request_can_ask_are_noted(softprompt, data_dir, tmp_path, monkeypatch):
    """As a job of a server notes them: they are learnt from, but longer than the KV cache."""
    monkeypatch.setenv("SOFTPROMPT_NUM_KV_BLOCKS", "6")
    monkeypatch.setattr(TuningRun, "advance", raising(TuningDiverged("no step is needed")))
    train, validation = tmp_path / "train.jsonl", tmp_path / "validation.jsonl"
    short = [{"text": "fine", "label": "yes"}, {"text": "dull", "label": "no"}]
    train.write_text("".join(json.dumps(row) + "\n" for row in [*short, {"text": "a day " * 60, "label": "no"}]))
    validation.write_text("".join(json.dumps({**row, "text": f"so {row['text']}"}) + "\n" for row in short))
    files = ("--train", train, "--validation", validation, "--data-dir", data_dir)
    code, _, err = softprompt("tune", "mood", *files, *QUICK)
    assert code == 1
    assert "1 examples are learnt from, but longer than what this server's KV cache can ever answer" in err.splitlines()
