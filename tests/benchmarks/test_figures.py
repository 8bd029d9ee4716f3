"""From records to figures: medians, ratios of what stood side by side, verdicts, and the tables."""

import os
import sys
import time

import pytest

from benchmarks.against_lower_bound import decode_step_seconds
from benchmarks.comparison import MEASURE, agreement, sample
from benchmarks.contender import Answer, Run
from benchmarks.promises import publish
from benchmarks.records import Record, append, read
from benchmarks.sizes import FULL
from benchmarks.spread import Spread, median_interval, paired_ratios, percentile
from benchmarks.start import cpu_seconds
from benchmarks.table import report
from benchmarks.thresholds import THRESHOLDS, ratio, value
from benchmarks.workload import make_workload


def record(subject, value, number=0, measure=MEASURE, **notes):
    return Record(measure, subject, "demo", 1, f"r{number}", value, notes=notes)


def test_a_spread_is_median_lowest_and_highest():
    """Of an even number of repeats the median lies between the middle two; of none there is no spread."""
    assert Spread.of([4.0, 1.0, 2.0, 3.0]) == Spread(2.5, 1.0, 4.0, 4)
    assert Spread.of([]) is None


def test_ratios_are_taken_within_a_round():
    """A round that one side has not finished gives no ratio."""
    assert paired_ratios({"a": 6.0, "b": 8.0}, {"a": 2.0, "c": 1.0}) == [3.0]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 10), (0.95, 19), (1.0, 20)])
def test_a_percentile_is_one_of_the_values(share, expected):
    """Nearest rank: of 1 to 20, the 95th percentile is 19."""
    assert percentile(range(20, 0, -1), share) == expected


@pytest.mark.parametrize(("count", "expected"), [(3, (1, 3)), (6, (1, 6)), (12, (3, 10)), (20, (6, 15))])
def test_the_interval_of_a_median_is_that_of_the_sign_test(count, expected):
    """The ranks of the tables. Fewer than six values cannot reach 95 %: their whole range is given."""
    assert median_interval(range(count, 0, -1)) == expected


def test_the_best_of_a_peers_settings_is_the_one_to_beat():
    """Of several denominators the largest of each round counts."""
    figure = ratio(MEASURE, "engine", "on", "off")
    records = [record("engine", 8.0), record("on", 2.0), record("off", 4.0)]
    assert figure(records) == Spread(2.0, 2.0, 2.0, 1)


def test_a_figure_of_one_subject_leaves_out_its_peers():
    """The server's start is compared with a limit, llama.cpp's stands beside it."""
    records = [record("http", 5.0), record("llama.cpp F32", 1.0), record("http", 6.0, number=1)]
    assert value(MEASURE, "http")(records) == Spread(5.5, 5.0, 6.0, 2)
    assert value(MEASURE)(records) == Spread(5.0, 1.0, 6.0, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cpu_seconds_are_those_that_python_counts():
    """User and system time of all threads, to a step of the kernel's clock or two."""
    before = time.process_time()
    measured = cpu_seconds(os.getpid())
    assert before - 0.05 <= measured <= time.process_time() + 0.05


def test_a_decode_step_is_timed_while_all_decode():
    """Neither the stagger at the beginning nor the thinning out at the end counts."""
    early = Answer((1, 2, 3, 4), 0.0, 4.0, (1.0, 3.0, 3.5, 4.0))
    late = Answer((1, 2, 3, 4), 0.0, 9.0, (3.0, 3.5, 4.0, 9.0))
    assert decode_step_seconds(Run(9.0, (early, late))) == pytest.approx(0.5)


def test_answers_that_are_read_one_after_the_other_have_a_step_too():
    """A busy machine may hand the tokens of one answer over before any of another's."""
    first, second = Answer((1, 2), 0.0, 2.0, (1.0, 2.0)), Answer((1, 2), 0.0, 4.0, (3.0, 4.0))
    assert decode_step_seconds(Run(4.0, (first, second))) == pytest.approx(2.0)


def test_agreement_counts_whole_answers_that_both_have():
    """An answer that only one side gave says nothing."""
    assert agreement({0: (1, 2), 1: (3,)}, {0: (1, 2), 1: (4,), 2: (5,)}) == "1 of 2"


def test_two_rounds_ask_for_all_requests():
    """A round is one wave of as many requests as are computed at once; slow contenders answer a part of the wave."""
    workload = make_workload(1_000, seed=1)
    waves = [sample("engine", workload, number, FULL) for number in (0, 1)]
    assert sorted(waves[0] + waves[1]) == list(range(64))
    assert set(sample("peft", workload, 1, FULL)) <= set(waves[1])
    batched = sample("peft-batched", workload, 2, FULL)
    assert {workload.requests[index].task for index in batched} == {2}
    assert len(batched) == 8


def test_records_are_read_as_written(tmp_path):
    """A table can be made on another day."""
    records = [record("engine", 1.5, **{"same as peft": "3 of 4"}), record("peft", 2.0, 1)]
    append(tmp_path / "sub" / "results.jsonl", records[:1])
    append(tmp_path / "sub" / "results.jsonl", records[1:])
    assert read(tmp_path / "sub" / "results.jsonl") == records
    assert read(tmp_path / "none.jsonl") == []


def test_the_table_tells_reached_missed_and_not_measured():
    """Every threshold has its row, whatever was measured, and a figure that falls short stands there as it is."""
    records = [
        record("engine", 100.0, **{"same as peft": "4 of 4"}),
        record("engine", 90.0, 1, **{"same as peft": "3 of 4"}),
        record("peft", 10.0),
        record("peft", 10.0, 1),
        record("http", 50.0),
        record("http", 45.0, 1),
        record("http", 12.0, measure=publish.MEASURE),
    ]
    table = report(records)
    assert table.count("not measured") == len(THRESHOLDS) - 3
    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()}
    assert "| 9.5 | 9 to 10 (2) | 9 | 12 | yes |" in rows["(e) engine over (a) PEFT, one by one"]
    assert "| 0.5 | 0.5 to 0.5 (2) | 0.92 | 0.97 | no |" in rows["(f) HTTP over (e)"]
    assert "| 12 | once | at most 30 | at most 10 | yes |" in rows["publish to first token, ms"]
    assert "same as peft: 7 of 8" in table
