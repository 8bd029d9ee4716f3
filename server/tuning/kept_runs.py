"""Unfinished runs of the command line, kept in the data folder: a file per run, held by one process at a time.

    tuning/<base model>/<task>/<run>.safetensors

<base model> is the start of its fingerprint, so a run never resumes over other weights. <run> is the start of the
digest of everything else that decides the run, so two runs of one task never overwrite each other. Earlier releases
kept one run per task, as `tuning/<task>.safetensors`, without its base model.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from prompts_store.checkpoint_records import BaseModel
from prompts_store.manifest import content_fields
from server.tuning.errors import RunNotKept
from server.tuning.job import TuningJob
from server.tuning.plan import plan_to_json

_NUM_DIGITS = 16
_STATE, _LOCK, _NEW = ".safetensors", ".lock", ".new"


@dataclass(frozen=True, slots=True)
class KeptRuns:
    """The runs kept in a data folder for the base model with this fingerprint."""

    data_dir: Path
    fingerprint: str

    def of(self, task: str, key: str) -> KeptRun:
        """The kept run with this `run_key`."""
        return KeptRun(self._folder(task) / f"{key[:_NUM_DIGITS]}{_STATE}")

    def num_others(self, task: str, run: KeptRun) -> int:
        """Number of other kept runs of the task, over this base model or another one."""
        return sum(path != run.path for path in self._root.glob(f"*/{task}/*{_STATE}"))

    def of_earlier_release(self, task: str) -> Path:
        """Path of the one run of the task that earlier releases kept."""
        return self._root / f"{task}{_STATE}"

    def purge(self, task: str) -> int:
        """Remove every kept run of the task, and return their number. Raises `RunNotKept`.

        The run of an earlier release is removed too, because it may be of this base model.
        """
        folder, old = self._folder(task), self.of_earlier_release(task)
        states = [*folder.glob(f"*{_STATE}"), *(path for path in (old,) if path.exists())]
        try:
            for path in (*states, *folder.glob(f"*{_NEW}"), old.with_suffix(_NEW)):
                path.unlink(missing_ok=True)
            for lock in folder.glob(f"*{_LOCK}"):
                with suppress(BlockingIOError), _holding(lock):  # a run that is in progress keeps its own
                    pass
            _remove_if_empty(folder)
        except OSError as error:
            raise RunNotKept(f"the kept runs in {folder} cannot be removed: {error.strerror}") from error
        return len(states)

    @property
    def _root(self) -> Path:
        return self.data_dir / "tuning"

    def _folder(self, task: str) -> Path:
        return self._root / self.fingerprint[:_NUM_DIGITS] / task


class KeptRun:
    """The state of one run on disk. All methods raise `RunNotKept` for what the file system refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the run against other processes while the context is open.

        Raises `RunNotKept` also if the folder cannot be written, so that no work is lost later.
        """
        try:
            holding = _holding(self.path.with_suffix(_LOCK))
            holding.__enter__()
        except BlockingIOError as error:
            raise RunNotKept("this run is in progress in another process: wait for its end, or stop it") from error
        except OSError as error:
            raise RunNotKept(f"{self._refusal(error)}; name another folder with --data-dir") from error
        try:
            yield
        finally:
            holding.__exit__(None, None, None)

    def read(self) -> bytes | None:
        """Return the checkpoint, None without one."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunNotKept(f"cannot read {self.path}: {error.strerror}") from error

    def write(self, checkpoint: bytes) -> None:
        """Replace the checkpoint atomically."""
        beside = self.path.with_suffix(_NEW)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with beside.open("wb") as file:
                    file.write(checkpoint)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self.path)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise RunNotKept(self._refusal(error)) from error

    def adopt(self, state: Path) -> None:
        """Move the state in another file here."""
        try:
            state.replace(self.path)
        except OSError as error:
            raise RunNotKept(self._refusal(error)) from error

    def forget(self) -> None:
        """Remove the checkpoint, if there is one."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise RunNotKept(f"{self.path} cannot be removed: {error.strerror}") from error

    def _refusal(self, error: OSError) -> str:
        return f"the run cannot be kept in {self.path.parent}: {error.strerror}"


def run_key(base: BaseModel, job: TuningJob) -> str:
    """Identity of a run of a task on its base model: sha256 of examples, plan, content of the version and dtype."""
    decided: dict[str, object] = {
        "training": job.data.digest,
        "validation": job.data.validation_digest,
        "plan": plan_to_json(job.plan),
        "manifest": content_fields(job.manifest),
        "dtype": base.serving_dtype,
    }
    if job.distillation is not None:
        decided["distillation"] = job.distillation.to_json()
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()


@contextmanager
def _holding(lock: Path) -> Iterator[None]:
    """Hold a lock file while the context is open. Then remove it, and its folders if they are empty.

    Raises BlockingIOError if another process holds it, and OSError.
    """
    file = _lock(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        file.close()
        _remove_if_empty(lock.parent)


def _remove_if_empty(folder: Path) -> None:
    """Remove a task's folder and the two above it, as far as they are empty."""
    with suppress(OSError):
        for one in (folder, *folder.parents[:2]):
            one.rmdir()


def _lock(lock: Path) -> BinaryIO:
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = lock.open("ab")
        except FileNotFoundError:  # another run has just ended and removed the folder
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        except FileNotFoundError:  # its holder removed it after it was opened here
            pass
        except OSError:
            file.close()
            raise
        file.close()
