"""Records that maintenance takes and returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VersionKey:
    """A version by name and number, live or not."""

    base_fingerprint: str
    task: str
    version: int


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """Counts of the records that a purge removed for good.

    `num_shared_tensors` of the task's tensors stay, because other tasks have the same bytes. Files go with the tuning
    jobs that named them, unless other tasks' jobs name them too. A batch with a line for the task goes wholly, with its
    files. `log_is_clear` is True if the database's own log file
    holds no copy either. It is False if a database server decides that, or if a reader still needed the log.
    `num_interrupted_runs` counts saved runs of the command line in the data folder, which the store itself does not
    see.
    """

    task: str
    num_versions: int
    num_tensors: int
    num_tensor_bytes: int
    num_shared_tensors: int
    num_alias_moves: int
    num_jobs: int
    num_files: int
    log_is_clear: bool
    num_interrupted_runs: int = 0
    num_batches: int = 0


@dataclass(frozen=True, slots=True)
class GcReport:
    """Counts of what a garbage collection freed. The versions stay as tombstones, failed jobs stay without states."""

    num_versions: int
    num_tensors: int
    num_tensor_bytes: int
    num_states: int = 0
    num_batches: int = 0
    num_batch_files: int = 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of reading everything. `problems` are sentences. Orphan tensors are no problem: gc frees them."""

    num_tasks: int
    num_versions: int
    num_tensors: int
    num_files: int
    num_jobs: int
    num_orphan_tensors: int
    problems: tuple[str, ...]
    num_batches: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class BackupReport:
    """Counts of what a backup or a restore copied. `revision` is its last change."""

    num_tasks: int
    num_versions: int
    num_tensors: int
    num_files: int
    num_jobs: int
    revision: int
    num_batches: int = 0
