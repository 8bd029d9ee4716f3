"""What maintenance takes and tells: frozen records."""

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
    """What a purge removed for good.

    `num_shared_tensors` of the task's tensors stay, as other tasks have the same bytes. Files go with the tuning jobs
    that named them, unless other tasks' jobs did too. `log_is_clear` says that no
    copy is left in the database's own log file either; False where that is up to a server, or a reader still needed it.
    `num_interrupted_runs` of the command line lay in the data folder, of which the store itself knows nothing.
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


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a garbage collection freed. The versions stay as tombstones, and so do failed jobs without their states."""

    num_versions: int
    num_tensors: int
    num_tensor_bytes: int
    num_states: int = 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found by reading everything. `problems` are sentences; orphan tensors are no problem, gc frees them."""

    num_tasks: int
    num_versions: int
    num_tensors: int
    num_files: int
    num_jobs: int
    num_orphan_tensors: int
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup or a restore copied. `revision` is the last change that it holds."""

    num_tasks: int
    num_versions: int
    num_tensors: int
    num_files: int
    num_jobs: int
    revision: int
