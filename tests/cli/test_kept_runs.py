"""What `softprompt tune` keeps of a run that was stopped: whole, for that run alone, until it ends or is purged."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.cli import main
from server.cli.tuning import conclusion as tune_conclusion
from server.demo import BASE_DIR
from server.jobs import candidates
from server.tuning.kept_runs import KeptRun
from server.tuning.run import TuningRun
from server.tuning.trainer import Trainer

QUICK = ("--steps", 3, "--batch-size", 4, "--virtual-tokens", 4, "--validate-every", 3)
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


def write_examples(path, offset=0):
    rows = [
        {"text": f"a {kind} day, number {number + offset}", "label": label}
        for number in range(12)
        for kind, label in (("fine", "yes"), ("bad", "no"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def no_plot(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(tune_conclusion, "draw_plot", lambda *_: b"")


@pytest.fixture
def examples(tmp_path):
    return write_examples(tmp_path / "examples.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The digest of the run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    train = write_examples(folder / "examples.jsonl")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        arguments = ("tune", "whole", "--train", train, "--data-dir", folder, "--json", *QUICK)
        assert main([str(argument) for argument in arguments]) == 0
    return json.loads(out.getvalue())["digest"]


@pytest.fixture
def tune(softprompt, examples, data_dir):
    """Run `softprompt tune` on the examples, with further options."""

    def run(task, *options, train=examples):
        return softprompt("tune", task, "--train", train, "--data-dir", data_dir, *QUICK, *options)

    return run


@pytest.fixture
def stopped(tune, monkeypatch):
    """Run `softprompt tune` with Ctrl-C after its first piece."""

    def run(task, *options, **more):
        with monkeypatch.context() as patch:
            sending(patch, TuningRun, "advance", 1)
            assert tune(task, *options, **more)[0] == 130

    return run


def sending(patch, owner, name, call, number=signal.SIGINT, times=1):
    """Send signals at the end of one call of a method: what it changes is changed, and nobody knows of it yet."""
    original = getattr(owner, name)
    calls = 0

    def method(*arguments, **named):
        nonlocal calls
        calls += 1
        result = original(*arguments, **named)
        if calls == call:
            for _ in range(times):
                signal.raise_signal(number)
        return result

    patch.setattr(owner, name, method)


def states(data_dir):
    return sorted(data_dir.glob("tuning/**/*.safetensors"))


def digest(answer):
    code, out, err = answer
    assert code == 0, err
    return json.loads(out)["digest"]


# --- stopped anywhere, it comes to the same ---------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [(Trainer, "update", 2), (Trainer, "validate", 2), (torch.optim.AdamW, "step", 1), (KeptRun, "write", 1)],
    ids=["after an optimiser step", "in a validation", "in an optimiser step", "while the state is written"],
)
def test_a_signal_anywhere_leaves_the_result_as_it_is(tune, whole, monkeypatch, owner, name, call, number, data_dir):
    """The first signal waits for the end of the piece, so that what is kept is whole."""
    more = ("--json", "--checkpoint-s", 0)
    with monkeypatch.context() as patch:
        sending(patch, owner, name, call, number)
        code, _, err = tune("cut", *more)
    assert (code, "the same command resumes the run" in err) == (130, True)
    code, out, err = tune("cut", *more)
    assert "resuming after step" in err
    assert digest((code, out, err)) == whole
    assert states(data_dir) == []


def test_a_signal_while_the_whole_run_is_written_stops_before_it_is_published(tune, whole, monkeypatch, data_dir):
    """It is the only write of a short run."""
    with monkeypatch.context() as patch:
        sending(patch, KeptRun, "write", 1)
        assert tune("cut", "--json")[0] == 130
    with Store.open(f"sqlite:///{data_dir / 'softprompt.db'}") as store:
        assert not any(task.name == "cut" for base in store.bases() for task in store.list_tasks(base))
    assert digest(tune("cut", "--json")) == whole


def test_a_signal_in_the_search_for_a_rate_leaves_the_result_as_it_is(tune, monkeypatch):
    """What the search did to the parameters is never kept."""
    more = ("--json", "--learning-rate", "auto")
    whole = digest(tune("whole", *more))
    with monkeypatch.context() as patch:
        sending(patch, Trainer, "update", 4)
        assert tune("cut", *more)[0] == 130
    assert digest(tune("cut", *more)) == whole


def test_a_second_signal_stops_at_once_and_keeps_nothing_in_part(tune, whole, monkeypatch):
    """What was kept before stays, and the rest is done again."""
    more = ("--json", "--checkpoint-s", 0)
    with monkeypatch.context() as patch:
        sending(patch, Trainer, "update", 2, times=2)
        code, _, err = tune("cut", *more)
    assert (code, "stopped at once" in err) == (130, True)
    code, out, err = tune("cut", *more)
    assert "resuming after step 1 of 3" in err
    assert digest((code, out, err)) == whole


@BOTH
@pytest.mark.parametrize(
    ("owner", "name"), [(candidates, "load_candidate"), (TuningStore, "publish")], ids=["judging", "publishing"]
)
def test_a_signal_at_the_end_loses_nothing(tune, monkeypatch, number, owner, name):
    """The run is kept until its version is there; a second version never comes of it."""
    assert tune("cut", "--seed", 5)[0] == 0  # so that there is a rival in production
    with monkeypatch.context() as patch:
        sending(patch, owner, name, 1, number)
        code, _, err = tune("cut", "--json")
    assert (code, "stopped after step 3 of 3" in err) == (130, True), err
    code, out, err = tune("cut", "--json")
    assert "resuming after step 3 of 3" in err
    assert (code, json.loads(out)["version"]) == (0, 2)


# --- one run's state is no other's ------------------------------------------------------------------------------------


def other_base(tmp_path):
    """A base model of the same shapes and tokenizer, as an instruct twin is."""
    base = shutil.copytree(BASE_DIR, tmp_path / "twin")
    weights = load_file(base / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.dim() == 1)
    weights[name] += 0.01
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    return base


def test_a_run_never_goes_on_over_another_base_model(tune, stopped, data_dir, tmp_path):
    """Shapes agree, weights do not; both runs are kept, and each is gone on with by its own command."""
    ours, twin = ("--base-model", BASE_DIR), ("--base-model", other_base(tmp_path))
    stopped("cut", *ours)
    code, _, err = tune("cut", *twin, "--resume")
    assert (code, "no interrupted run of this command" in err) == (1, True)
    stopped("cut", *twin)
    assert len(states(data_dir)) == 2
    for base in (twin, ours):
        code, _, err = tune("cut", *base)
        assert (code, "resuming after step" in err) == (0, True)


@pytest.mark.parametrize("options", [("--seed", 9), ("--template", "{input} ->")], ids=str)
def test_a_run_of_other_settings_leaves_the_first_as_it_is(tune, stopped, data_dir, options):
    """It begins anew, says what else is kept, and the first command still goes on."""
    stopped("cut")
    code, out, err = tune("cut", *options)
    assert (code, "cut@1" in out) == (0, True)
    assert "unfinished runs of cut with other examples, settings or base models" in err
    assert str(data_dir / "tuning") in err
    code, _, err = tune("cut")
    assert (code, "resuming after step" in err) == (0, True)
    assert states(data_dir) == []


def test_runs_of_two_files_are_kept_side_by_side(tune, stopped, data_dir, tmp_path):
    others = write_examples(tmp_path / "others.jsonl", 100)
    stopped("cut")
    stopped("cut", train=others)
    stopped("cut", "--validation", others)
    assert len(states(data_dir)) == 3
    for more in ({}, {"train": others}):
        code, _, err = tune("cut", **more)
        assert (code, "resuming after step" in err) == (0, True)
    code, _, err = tune("cut", "--validation", others)
    assert (code, "resuming after step" in err) == (0, True)


def test_what_only_the_end_asks_for_makes_no_other_run(tune, stopped):
    """Gate, note and folder may change between the two commands."""
    stopped("cut")
    code, _, err = tune("cut", "--min-score", 1.0, "--note", "again")
    assert (code, "resuming after step" in err) == (0, True)


def test_the_same_run_in_two_terminals_is_refused_in_the_second(tune, stopped, data_dir):
    """One of them must not overwrite what the other one keeps; one of other settings may run beside it."""
    stopped("cut")
    (state,) = states(data_dir)
    before = state.read_bytes()
    with KeptRun(state).held():
        code, _, err = tune("cut")
        assert (code, "in progress in another process" in err) == (1, True)
        assert tune("cut", "--seed", 9)[0] == 0
    assert state.read_bytes() == before
    assert tune("cut")[0] == 0


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, None], ids=lambda content: repr(content)[:10])
def test_a_damaged_state_is_said_and_the_run_begins_anew(tune, stopped, data_dir, content):
    stopped("cut")
    (state,) = states(data_dir)
    state.write_bytes(state.read_bytes()[:-20] if content is None else content)
    code, _, err = tune("cut", "--resume")
    assert (code, "damaged" in err) == (1, True)
    code, _, err = tune("cut")
    assert (code, "a new run starts: the saved state of the run is damaged" in err) == (0, True)


def test_a_state_of_an_earlier_release_is_gone_on_with_when_asked_for(tune, stopped, data_dir):
    """It does not note its base model, so nothing but the user can say that it is this one's."""
    stopped("cut")
    (state,) = states(data_dir)
    state.replace(data_dir / "tuning" / "cut.safetensors")
    code, _, err = tune("cut", "--no-publish", "--save", data_dir / "saved")
    assert (code, "--resume resumes it" in err) == (0, True)
    code, _, err = tune("cut", "--resume", "--seed", 9)
    assert (code, "another job" in err) == (1, True)
    code, _, err = tune("cut", "--resume")
    assert (code, "resuming after step 0 of 3" in err) == (0, True)
    assert states(data_dir) == []


# --- the disk ---------------------------------------------------------------------------------------------------------


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_does_not_end_a_run(tune, monkeypatch, data_dir):
    """It is said; the result needs no kept state."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        code, _, err = tune("cut", "--checkpoint-s", 0)
    assert code == 0, err
    assert "No space left on device; the run continues" in err
    assert list(data_dir.glob("tuning/**/*.*")) == []


def test_a_run_that_is_stopped_and_cannot_be_kept_says_so(tune, monkeypatch, data_dir):
    """And nothing is left in part."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        sending(patch, TuningRun, "advance", 1)
        code, _, err = tune("cut")
    assert (code, "cannot be kept" in err) == (1, True)
    assert "continues" not in err
    assert list(data_dir.glob("tuning/**/*.*")) == []


def test_a_folder_where_nothing_can_be_kept_is_said_before_any_work(tune, monkeypatch, data_dir):
    (data_dir / "tuning").write_text("a file where a folder should be")
    monkeypatch.setattr(TuningRun, "advance", lambda _: pytest.fail("work was begun"))
    code, _, err = tune("cut")
    assert (code, "cannot be kept" in err, "--data-dir" in err) == (1, True, True)


# --- purge ------------------------------------------------------------------------------------------------------------


def fingerprint_of_cut(data_dir):
    with Store.open(f"sqlite:///{data_dir / 'softprompt.db'}") as store:
        return next(one for one in store.bases() if store.list_tasks(one, limit=100)[0].name == "cut")


def test_a_purge_removes_what_is_kept_of_the_task(softprompt, tune, stopped, data_dir, tmp_path):
    """Of this base model's task of this name, also what an earlier release kept; and it says so."""
    assert tune("cut", "--seed", 3)[0] == 0
    stopped("other")
    stopped("cut", "--base-model", other_base(tmp_path))
    others = states(data_dir)
    stopped("cut")
    stopped("cut", "--seed", 9)
    (data_dir / "tuning" / "cut.safetensors").write_bytes(b"of an earlier release")
    fingerprint = fingerprint_of_cut(data_dir)
    arguments = ("--data-dir", data_dir, "--fingerprint", fingerprint)
    code, out, err = softprompt("task", "delete", "cut", "--purge", "--yes", *arguments)
    assert code == 0, err
    assert "3 interrupted runs" in out
    assert states(data_dir) == others


def test_a_task_that_was_never_published_is_purged_too(softprompt, stopped, data_dir):
    """An interrupted run is all that there is of it."""
    stopped("cut")
    purge = ("task", "delete", "cut", "--purge", "--yes", "--data-dir", data_dir)
    code, out, _ = softprompt(*purge, "--json")
    assert (code, json.loads(out)["num_interrupted_runs"], json.loads(out)["num_versions"]) == (0, 1, 0)
    assert softprompt(*purge)[0] == 1
    assert not list(data_dir.glob("tuning/**/*.*"))


def test_a_state_that_cannot_be_removed_is_said_after_the_run_is_published(tune, monkeypatch):
    """The version is there; a state too many does no harm."""
    unlink = Path.unlink

    def refused(path, missing_ok=False):
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    code, out, err = tune("mood")
    assert code == 0
    assert "mood@1" in out
    assert "cannot be removed: Permission denied" in err
