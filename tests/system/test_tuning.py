"""Tuning in a real server, in the short form; `make tuning-test` runs the long one and prints figures."""

from __future__ import annotations

import pytest

from tests.system.tuning import beside_serving, new_task, through_a_kill


@pytest.mark.slow
def test_a_job_that_was_killed_ends_with_the_digest_of_an_undisturbed_one(tmp_path):
    killed = through_a_kill(tmp_path, num_steps=16, kill_after=6)
    assert killed.digest == killed.undisturbed
    assert 0 < killed.went_on_from <= killed.killed_after + 8


@pytest.mark.slow
def test_answers_beside_a_job_are_the_same_and_the_job_gets_on(tmp_path):
    measured = beside_serving(tmp_path, num_rounds=1, num_requests=150)
    assert measured.are_same
    assert measured.num_steps > 0


@pytest.mark.slow
def test_a_new_task_is_learnt_and_answers_in_the_same_process(tmp_path):
    """Better than chance after a few steps; the long form goes on to 0.9."""
    learnt = new_task(tmp_path, 1, num_examples=300, num_held_out=40, num_steps=60)
    assert learnt.score_before == 0
    assert learnt.score > 0.6
