"""The workload: the same for everybody who names the same seed, and never the same twice."""

import json
from dataclasses import asdict

import numpy as np

from benchmarks.contender import workload_from_json
from benchmarks.workload import make_workload, soft_prompt, tasks_of


def test_it_is_what_the_comparison_promises():
    """64 requests over 8 tasks, 16 to 64 text tokens in, 48 out, 16 virtual tokens."""
    workload = make_workload(1_000, seed=1)
    assert len(workload.requests) == 64
    assert tasks_of(workload.requests) == list(range(8))
    assert {request.num_output for request in workload.requests} == {48}
    assert all(16 <= len(request.prompt) <= 64 for request in workload.requests)
    assert workload.num_virtual_tokens == 16
    assert workload.num_output_tokens == 64 * 48


def test_a_seed_decides_it():
    """Contenders in other processes make the same; another round's prompts are found in no cache."""
    assert make_workload(1_000, seed=1) == make_workload(1_000, seed=1)
    prompts = {request.prompt[:16] for seed in (1, 2) for request in make_workload(1_000, seed=seed).requests}
    assert len(prompts) == 2 * 64


def test_without_virtual_tokens_the_base_model_is_asked():
    """What is compared with soft prompts is the bare model, and not a task of no virtual tokens."""
    assert {request.task for request in make_workload(1_000, seed=1, num_virtual_tokens=0).requests} == {None}


def test_it_survives_the_way_to_a_contender():
    """A contender's process reads exactly what was written."""
    workload = make_workload(1_000, seed=3, num_requests=5, num_clients=2)
    assert workload_from_json(json.loads(json.dumps(asdict(workload)))) == workload


def test_a_soft_prompt_is_its_tasks_own_and_as_large_as_asked():
    """Every process draws the same matrix for a task."""
    matrix = soft_prompt(3, 16, 64, 0.02)
    assert matrix.shape == (16, 64)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, soft_prompt(3, 16, 64, 0.02))
    assert not np.array_equal(matrix, soft_prompt(4, 16, 64, 0.02))
    assert abs(float(matrix.std()) - 0.02) < 0.002
