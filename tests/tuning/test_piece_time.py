"""A piece that would outlast the server's patience is refused before it begins, and measuring changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prompts_store.checkpoint_records import TaskType
from server.tuning import piece_time
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.examples import read_examples
from server.tuning.piece_time import PieceTime
from server.tuning.plan import TuningPlan
from server.tuning.run import TuningRun
from server.tuning.split import tuning_data
from tests.fakes.tokenizers import byte_level
from tests.tuning.heads import learner
from tests.tuning.test_run import digest, finish
from tests.tuning.tiny import MANIFEST, jsonl, tiny_job, tiny_model, vowel_examples

PLAN = TuningPlan(num_steps=3, batch_size=4, num_virtual_tokens=4, max_micro_batch_tokens=16)


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(piece_time, "SHORT", 6)
    monkeypatch.setattr(piece_time, "LONG", 8)


def run_of(plan: TuningPlan, max_piece_s: float | None) -> TuningRun:
    return TuningRun(tiny_model(), byte_level(), tiny_job(plan), max_piece_s=max_piece_s)


def test_what_comes_beside_the_long_piece_takes_its_share(monkeypatch):
    """What both pieces have in common, such as an encoder, is not counted again."""
    monkeypatch.setattr(piece_time, "SHORT", 64)
    monkeypatch.setattr(piece_time, "LONG", 128)
    assert PieceTime(1.0, 1.5).of(128) == 1.5
    assert PieceTime(1.0, 1.5).of(128 + 640) == pytest.approx(6.5)
    assert PieceTime(1.5, 1.4).of(1000) == 1.4, "noise is no reason to refuse"


def test_an_example_that_would_take_too_long_is_refused_with_its_line():
    """Before the first step, whichever step it would have been in."""
    run = run_of(PLAN, 1e-9)
    with pytest.raises(
        ExamplesRefused, match=r"line \d+: takes \d+ positions .* raise --engine-timeout-s, or"
    ) as refused:
        finish(run)
    assert refused.value.code == "example_too_long"
    assert run.step == 0


def test_a_held_out_example_that_would_take_too_long_is_refused(monkeypatch):
    """It is computed forwards only."""
    monkeypatch.setattr(PieceTime, "of", lambda self, num_positions: num_positions)
    judged = read_examples(
        jsonl({"text": "b 3", "label": "yes"}, {"text": "".join(map(chr, range(35, 103))), "label": "no"})
    )
    job = tiny_job(PLAN, data=tuning_data(vowel_examples(), judged))
    with pytest.raises(ExamplesRefused, match=r"a held-out example takes \d\d positions") as refused:
        finish(TuningRun(tiny_model(), byte_level(), job, max_piece_s=17.0))
    assert refused.value.code == "example_too_long"


def test_a_micro_batch_that_would_take_too_long_is_refused(monkeypatch):
    """Of examples none of which would."""
    monkeypatch.setattr(PieceTime, "of", lambda self, num_positions: num_positions)
    with pytest.raises(PlanRefused, match="--tuning-micro-batch-tokens") as refused:
        finish(run_of(replace(PLAN, max_micro_batch_tokens=512), 30.0))
    assert refused.value.param == "max_micro_batch_tokens"


def test_measuring_changes_no_bit_of_the_result():
    measured, plain = finish(run_of(PLAN, 1000.0)), finish(run_of(PLAN, None))
    assert digest(measured) == digest(plain)
    assert measured.history == plain.history


@pytest.mark.parametrize("architecture", ["gpt2", "bert", "roberta", "bart"])
def test_no_measured_piece_is_longer_than_the_base_model_can_take(architecture, monkeypatch):
    """Base models with learned positions have none further on, though micro-batches of several examples are longer."""
    monkeypatch.setattr(piece_time, "SHORT", 64)
    monkeypatch.setattr(piece_time, "LONG", 128)
    has_head = architecture != "bart"
    rows = ({"text": f"{'ao'[n % 2]} {n} " + "xy" * 12, "label": ("yes", "no")[n % 2]} for n in range(40))
    plan = TuningPlan(num_steps=1, num_virtual_tokens=4, task_type=TaskType.SEQ_CLS if has_head else None)
    manifest = replace(MANIFEST, labels=("yes", "no")) if has_head else MANIFEST
    job = tiny_job(plan, manifest=manifest, data=tuning_data(read_examples(jsonl(*rows))))
    assert finish(TuningRun(learner(architecture), byte_level(), job, max_piece_s=1000.0)).step == 1
