"""Which run a kept state belongs to, and who may write it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.tuning.errors import RunNotKept
from server.tuning.kept_runs import KeptRun, KeptRuns, run_key
from server.tuning.plan import Initialisation, Method, TuningPlan
from tests.tuning.tiny import tiny_base, tiny_job


def test_all_that_decides_a_run_is_in_its_key():
    """Each of these makes another run; what is only said about its version makes none."""
    job, base = tiny_job(TuningPlan()), tiny_base()
    key = run_key(base, job)
    others = [
        run_key(base, replace(job, data=replace(job.data, validation_digest="0" * 64))),
        run_key(replace(base, serving_dtype="bfloat16"), job),
        run_key(base, replace(job, data=replace(job.data, digest="0" * 64))),
        run_key(base, replace(job, manifest=replace(job.manifest, template="{input}"))),
        *(
            run_key(base, replace(job, plan=replace(job.plan, **change)))
            for change in (
                {"seed": 9},
                {"num_steps": 7},
                {"learning_rate": 0.5},
                {"method": Method.PREFIX_TUNING},
                {"initialisation": Initialisation.RANDOM},
                {"max_micro_batch_tokens": 64},
            )
        ),
    ]
    assert len({key, *others}) == 1 + len(others)
    noted = replace(job, manifest=replace(job.manifest, note="again"), base_name="another/name")
    assert run_key(base, noted) == key


def test_runs_of_other_bases_tasks_and_keys_are_kept_apart(tmp_path):
    paths = {
        KeptRuns(tmp_path, fingerprint * 64).of(task, key * 64).path
        for fingerprint in "ab"
        for task in ("one", "two")
        for key in "cd"
    }
    assert len(paths) == 8


def test_one_process_holds_a_run(tmp_path):
    """A second one is refused, another run is not; nothing is left of a hold that ended."""
    kept = KeptRuns(tmp_path, "f" * 64)
    run = kept.of("cut", "0" * 64)
    with run.held():
        with pytest.raises(RunNotKept, match="in progress in another process"), KeptRun(run.path).held():
            pass
        with kept.of("cut", "1" * 64).held():
            pass
    with run.held():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_purge_leaves_a_run_in_progress_its_hold(tmp_path):
    """It goes on and keeps its state again, and no second process may begin it."""
    kept = KeptRuns(tmp_path, "f" * 64)
    run = kept.of("cut", "0" * 64)
    with run.held():
        run.write(b"state")
        assert kept.purge("cut") == 1
        with pytest.raises(RunNotKept, match="in progress"), KeptRun(run.path).held():
            pass
        run.write(b"state")
    assert run.read() == b"state"
    assert kept.purge("cut") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_hold_that_a_kill_left_behind_is_none(tmp_path):
    run = KeptRuns(tmp_path, "f" * 64).of("cut", "0" * 64)
    run.path.parent.mkdir(parents=True)
    run.path.with_suffix(".lock").touch()
    with run.held():
        pass
