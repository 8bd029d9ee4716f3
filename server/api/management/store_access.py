"""The store as routes use it: off the event loop, and each write known to this server at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Concatenate, ParamSpec, TypeVar

from fastapi import Depends, Request

from prompts_store.batch_store import BatchStore
from prompts_store.checkpoint.embedding_check import BaseEmbeddings
from prompts_store.checkpoint_records import BaseModel
from prompts_store.errors import StoreUnavailable
from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.api.errors import TaskReadOnly
from server.api.limits import ApiLimits
from server.soft_prompts.tasks_folder import TasksFolder
from server.store_follower import StoreFollower
from server.threads import Threads
from server.tuning.kept_runs import KeptRuns

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class StoreAccess:
    """Reads and writes of one base model's tasks, files and jobs. Belongs to the event loop.

    `base_names` is every name that means the base model: no task may bear one. `tasks_folder` publishes tasks of its
    own. `kept_runs` are interrupted tuning runs beside the database, which a purge removes too. `base_embeddings` reads
    the base model's embedding layers, with which those of an upload are compared.
    """

    store: Store
    base: BaseModel
    base_names: frozenset[str]
    follower: StoreFollower
    limits: ApiLimits = field(default_factory=ApiLimits)
    tasks_folder: TasksFolder | None = None
    kept_runs: KeptRuns | None = None
    base_embeddings: BaseEmbeddings | None = None
    reads: Threads = field(default_factory=lambda: Threads("reads", 4))
    writes: Threads = field(default_factory=lambda: Threads("writes", 4))

    @property
    def fingerprint(self) -> str:
        """The base model's fingerprint, by which the store keys its tasks and jobs."""
        return self.base.fingerprint

    async def read(
        self, operation: Callable[Concatenate[Store, _P], _Result], *args: _P.args, **kwargs: _P.kwargs
    ) -> _Result:
        """The result of an operation that writes nothing. Raises what the operation does, and `ThreadsBusy`."""
        return await self.reads.run(operation, self.store, *args, **kwargs)

    async def write(
        self, operation: Callable[Concatenate[Store, _P], _Result], *args: _P.args, **kwargs: _P.kwargs
    ) -> _Result:
        """As `read`, of one that writes; once it returns, this server answers by what was written."""
        result = await self.writes.run(operation, self.store, *args, **kwargs)
        # What is written stays written even if the store goes away now; the follower takes it over later.
        with suppress(StoreUnavailable):
            await self.follower.refresh()
        return result

    async def read_tuning(
        self, operation: Callable[Concatenate[TuningStore, _P], _Result], *args: _P.args, **kwargs: _P.kwargs
    ) -> _Result:
        """As `read`, of files and tuning jobs."""
        return await self.reads.run(operation, TuningStore(self.store), *args, **kwargs)

    async def write_tuning(
        self, operation: Callable[Concatenate[TuningStore, _P], _Result], *args: _P.args, **kwargs: _P.kwargs
    ) -> _Result:
        """As `read_tuning`, of one that writes. Nothing is answered by files and jobs, so nothing is refreshed."""
        return await self.writes.run(operation, TuningStore(self.store), *args, **kwargs)

    async def read_batches(
        self, operation: Callable[Concatenate[BatchStore, _P], _Result], *args: _P.args, **kwargs: _P.kwargs
    ) -> _Result:
        """As `read`, of batches."""
        return await self.reads.run(operation, BatchStore(self.store), *args, **kwargs)

    async def write_batches(
        self, operation: Callable[Concatenate[BatchStore, _P], _Result], *args: _P.args, **kwargs: _P.kwargs
    ) -> _Result:
        """As `read_batches`, of one that writes."""
        return await self.writes.run(operation, BatchStore(self.store), *args, **kwargs)

    def is_read_only(self, task: str) -> bool:
        """Whether a folder owns the task."""
        return self.tasks_folder is not None and task in self.tasks_folder.tasks

    def check_writable(self, task: str) -> None:
        """Raise `TaskReadOnly` for a task that a folder owns."""
        if self.is_read_only(task):
            raise TaskReadOnly("the task is published from a folder on the server; change it in that folder")

    def close(self) -> None:
        """Let the threads end."""
        self.reads.close()
        self.writes.close()


async def _store_access_of(request: Request) -> StoreAccess:
    store_access = request.app.state.store_access
    assert isinstance(store_access, StoreAccess)
    return store_access


StoreAccessDep = Annotated[StoreAccess, Depends(_store_access_of)]


async def _task_is_writable(task: str, store_access: StoreAccessDep) -> None:
    store_access.check_writable(task)


WRITABLE_TASK = Depends(_task_is_writable)
"""Refuses to change the `task` of the path where a folder owns it (`TaskReadOnly`)."""
