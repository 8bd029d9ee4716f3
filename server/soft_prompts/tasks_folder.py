"""A folder of PEFT checkpoints that owns its tasks: published at start and again on every change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prompts_store.checkpoint.embedding_check import BaseEmbeddings
from prompts_store.checkpoint.folder import CONFIG, MANIFEST, TENSORS, read_files, read_manifest
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseModel
from prompts_store.errors import InvalidManifest, StoreError, StoreUnavailable
from prompts_store.manifest import parse_manifest
from prompts_store.names import check_task_name
from prompts_store.records import Published
from prompts_store.store import Store
from server.background_task import background_task, uninterrupted
from server.threads import Threads

POLL_INTERVAL_S = 1.0

_log = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, int, int] | None, ...]


class TasksFolder:
    """The tasks of `folder/<task>/`: the folder's content is `production`, older content that comes back included.

    A change is published when two scans in a row find the same files, since files are copied one by one. A folder that
    is refused is logged once and skipped. If the folder or the store cannot be read now, or memory is short, it is
    tried again. A task whose folder is removed stays as it is, and no folder owns it.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        base: BaseModel,
        *,
        base_embeddings: BaseEmbeddings | None = None,
        poll_interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        self._folder = folder
        self._store = store
        self._base = base
        self._base_embeddings = base_embeddings
        self._poll_interval_s = poll_interval_s
        self._threads = Threads("tasks-folder", 1)
        self._seen: dict[str, _Stamp] = {}
        self._done: dict[str, _Stamp] = {}
        self._problems: dict[str, tuple[_Stamp, str]] = {}
        self._is_readable = True
        self.tasks: frozenset[str] = frozenset()

    def scan(self, *, at_once: bool = False) -> None:
        """Publish changed folders; `at_once` publishes without a second scan. Raises OSError for the folder itself."""
        stamps = {path.name: _stamp(path) for path in self._folder.iterdir() if _is_task(path)}
        self.tasks = frozenset(stamps)
        for name, stamp in sorted(stamps.items()):
            if stamp != self._done.get(name) and (at_once or stamp == self._seen.get(name)):
                self._publish(name, stamp)
        self._seen = stamps
        self._done = {name: stamp for name, stamp in self._done.items() if name in stamps}
        self._problems = {name: problem for name, problem in self._problems.items() if name in stamps}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Scan every `poll_interval_s` seconds, in a thread, while the context is open."""
        try:
            async with background_task(self._watch(), "tasks-folder"):
                yield
        finally:
            self._threads.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            await uninterrupted(self._threads.run(self._try_scan))

    def _try_scan(self) -> None:
        try:
            self.scan()
        except OSError as error:
            if self._is_readable:
                _log.warning("the folder of tasks cannot be read; its tasks stay as they are: %s", error.strerror)
            self._is_readable = False
        except Exception:  # the next scan must come
            _log.exception("the folder of tasks cannot be followed")
        else:
            self._is_readable = True

    def _publish(self, name: str, stamp: _Stamp) -> None:
        try:
            published = publish_checkpoint(
                self._store,
                self._base,
                self._folder / name,
                promote=True,
                actor="tasks-dir",
                base_embeddings=self._base_embeddings,
            )
        except StoreError as error:
            may_pass = isinstance(error, StoreUnavailable) or isinstance(error.__cause__, OSError | MemoryError)
            self._report(name, stamp, str(error), may_pass=may_pass)
            if may_pass:
                return
        except MemoryError:
            self._report(name, stamp, "there is not enough memory", may_pass=True)
            return
        except Exception:  # an error of one folder must not stop the others or the next scan
            _log.exception("task %r of the folder is skipped", name)
        else:
            if published.created or published.promoted:
                _log.info("task %s is version %d by its folder", name, published.version.version)
        self._done[name] = stamp

    def _report(self, name: str, stamp: _Stamp, problem: str, *, may_pass: bool) -> None:
        """Log a problem, unless the same files had it in the scan before."""
        if self._problems.get(name) != (stamp, problem):
            what = "cannot be published now" if may_pass else "is skipped"
            _log.error("task %r of the folder %s: %s", name, what, problem)
        self._problems[name] = stamp, problem


def publish_checkpoint(
    store: Store,
    base: BaseModel,
    folder: Path,
    *,
    promote: bool,
    actor: str,
    base_embeddings: BaseEmbeddings | None = None,
) -> Published:
    """Publish a PEFT checkpoint, with the `manifest.json` beside it if there is one, as the task of the folder's name.

    What else the file holds is left out and logged. Raises what the readers and the store raise.
    """
    check_task_name(folder.name)
    given = read_manifest(folder)
    if "members" in given.fields:
        raise InvalidManifest(
            "An ensemble is not published from here; `softprompt task import` does that.", param="manifest.members"
        )
    manifest = parse_manifest(given.fields)
    files = read_files(folder, max_tensor_bytes=store.max_tensor_bytes)
    checkpoint = read_checkpoint(
        files.config,
        files.tensors,
        base,
        task_index=manifest.task_index,
        allow_base_mismatch=given.allow_base_mismatch,
        max_tensor_bytes=store.max_tensor_bytes,
        follow_links=True,
        left_out=files.left_out,
        base_embeddings=base_embeddings,
    )
    for tensor in checkpoint.left_out:
        _log.info("task %s: %s", folder.name, tensor.describe())
    return store.publish(folder.name, checkpoint, manifest, promote=promote, description=given.description, actor=actor)


def _is_task(path: Path) -> bool:
    try:
        return not path.name.startswith(".") and path.is_dir()
    except OSError:  # reading it says why it cannot be reached
        return True


def _stamp(folder: Path) -> _Stamp:
    """A value that changes when one of the files does."""
    return tuple(_file_stamp(folder / name) for name in (CONFIG, TENSORS, MANIFEST))


def _file_stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
