"""The benchmark of tuning: its settings, what a sweep picks, and how a file of results goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from benchmarks.tuning import results
from benchmarks.tuning.report import report
from benchmarks.tuning.settings import Kind, Setting, all_settings, best_of_sweep, setting_of, sweep
from benchmarks.tuning.tasks import LabelledTask, task_named
from benchmarks.tuning.training import plan_of
from server.tuning.plan import Initialisation, TuningPlan


def swept(task: str, best: int) -> results.Results:
    """Outcomes of a whole sweep of which one setting has the best validation."""
    return {
        setting.key: {"validation": 0.9 if turn == best else 0.5, "validation_perplexity": 2.0, "process_cpu_s": 1.0}
        for turn, setting in enumerate(sweep(task))
    }


def test_a_key_gives_its_setting_again():
    """A key has only what differs from a default, so a new field leaves old keys as they are."""
    for setting in all_settings(swept("reviews", 3)):
        assert setting_of(setting.key) == setting
    assert json.loads(Setting(Kind.LORA, "route").key) == {"kind": "LoRA", "task": "route"}


def test_the_default_is_the_plan_of_a_request_without_hyperparameters():
    """What is measured as the default is what a user gets."""
    assert plan_of(Setting(Kind.SOFT_PROMPT, "reviews"), task_named("reviews")) == TuningPlan()


def test_a_text_start_takes_the_tasks_instruction():
    """Nobody else's."""
    plan = plan_of(Setting(Kind.SOFT_PROMPT, "route", initialisation=Initialisation.TEXT), task_named("route"))
    assert plan.init_text == task_named("route").instruction


def test_a_sweep_picks_by_validation_and_then_by_perplexity():
    """Nothing before it is complete; the pick runs at full length."""
    found = swept("triage", 4)
    assert best_of_sweep("triage", found) == replace(sweep("triage")[4], is_short=False)
    found[sweep("triage")[6].key] = {"validation": 0.9, "validation_perplexity": 1.5}
    assert best_of_sweep("triage", found) == replace(sweep("triage")[6], is_short=False)
    del found[sweep("triage")[0].key]
    assert best_of_sweep("triage", found) is None


def test_a_file_of_results_goes_on(tmp_path, monkeypatch):
    """What has an outcome is not run again, and the time that is given ends a call."""
    run = []

    def run_alone(key: str) -> dict[str, float]:
        run.append(key)
        return {"test": 0.5, "process_cpu_s": 60.0}

    monkeypatch.setattr(results, "run_alone", run_alone)
    file = tmp_path / "results.json"
    results.run_missing(file, ["route"], 90)
    results.run_missing(file, ["route"], 90)
    assert len(run) == 4 == len(set(run))
    assert set(results.read_results(file)) == set(run)


def test_tables_say_what_was_not_run():
    """A report is made at any time."""
    text = report(swept("urgency", 0) | {Setting(Kind.ZERO_SHOT, "route").key: {"test": 0.25, "exact_match": 0.0}})
    assert "| `route` | 0.250 | not run | not run | not run | not run |" in text
    assert "| default | 0.900 | not run |" in text


def test_few_examples_show_every_label():
    """Eight examples, the labels in turn, however rare one of them is."""
    rows = [{"text": f"text {number}", "label": "rare" if number == 60 else "usual"} for number in range(100)]
    shown = LabelledTask("toy", Path(), "Which?", lambda: (rows, [])).few_shot()
    assert shown.startswith("Which?\n\n")
    assert (shown.count("\nrare\n"), shown.count("\nusual\n")) == (1, 7)
