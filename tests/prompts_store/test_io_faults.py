"""A disk that is full or fails: a clear error, nothing half written, and the store serves on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prompts_store import maintenance
from prompts_store.store import Store
from tests.fakes.failing_disk import FailingDisk
from tests.prompts_store.checkpoints import BASE

ROOT = Path(__file__).parents[2]
NUM_TRIES = 3


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> FailingDisk:
    return FailingDisk(tmp_path_factory.mktemp("disk"))


@pytest.mark.parametrize("fault", ["limit", "write", "sync"])
def test_a_failing_disk_costs_the_writes_of_the_moment_only(
    fault: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Writes fail as StoreUnavailable, reads go on, and writes do again when the disk is well, with no number lost."""
    path, control = tmp_path / "store.db", tmp_path / "control"
    environment = dict(os.environ)
    if fault != "limit":
        disk: FailingDisk = request.getfixturevalue("disk")
        environment |= disk.environment
        control = disk.control
    command = [sys.executable, "-m", "tests.prompts_store.faulty_writer", str(path), fault, str(control)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, num_failed, after = map(int, done.stdout.split())
    assert (before, num_failed, after) == (1, NUM_TRIES, 2)
    with Store.open(str(path)) as store:
        assert maintenance.verify(store).problems == ()
        assert [version.version for version in store.list_versions(BASE.fingerprint, "t")] == [2, 1]
