"""Greedy tokens of each architecture against PEFT's, through captures and files in one batch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.vllm.worlds import CONFIGS

PEFT_REFUSES = {"falcon": {"prefix", "prefix long", "cartridge"}}
"""PEFT makes one key per query head, and multi-query attention has one for all."""


@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_every_type_is_answered_as_by_peft(architecture):
    """Mixed batches, chunked prefill, prefix caching, preemption, and both resets: each exact, or refused by PEFT."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.vllm.compare", architecture]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    print(json.dumps(found))
    assert set(found["refused"]) == PEFT_REFUSES.get(architecture, set())
    assert all(num == total > 0 for num, total in found["parts"].values()), found
    assert found["num_preemptions"] > 0
    assert found["num_distinct"] >= found["parts"]["mixed, cold"][1] - 1, "the worlds are too alike to tell"
    assert found["num_open"] == 0
