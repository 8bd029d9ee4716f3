"""A folder of PEFT checkpoints that owns its tasks: published at start and again on every change."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from prompts_store.checkpoint_reader import read_checkpoint
from prompts_store.errors import InvalidManifest, StoreError, StoreUnavailable
from prompts_store.manifest import parse_manifest
from prompts_store.records import BaseModel, Published
from prompts_store.store import Store
from server.threads import Threads

CONFIG, TENSORS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
POLL_INTERVAL_S = 1.0

_log = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, int, int] | None, ...]


class TasksFolder:
    """The tasks of `folder/<task>/`: what is there is `production`, also where older content comes back.

    A change is published once it has stood still from one look to the next, since files are copied one by one. A folder
    that is refused is logged once and skipped. A task whose folder is taken away stays as it is, owned by nobody.
    """

    def __init__(
        self, folder: Path, store: Store, base: BaseModel, *, poll_interval_s: float = POLL_INTERVAL_S
    ) -> None:
        self._folder = folder
        self._store = store
        self._base = base
        self._poll_interval_s = poll_interval_s
        self._threads = Threads("tasks-folder", 1)
        self._seen: dict[str, _Stamp] = {}
        self._done: dict[str, _Stamp] = {}
        self.tasks: frozenset[str] = frozenset()

    def look(self, *, at_once: bool = False) -> None:
        """Publish what changed; `at_once` does not wait for it to stand still. Raises OSError for the folder itself."""
        stamps = {path.name: _stamp(path) for path in self._folder.iterdir() if _is_task(path)}
        self.tasks = frozenset(stamps)
        for name, stamp in sorted(stamps.items()):
            if stamp != self._done.get(name) and (at_once or stamp == self._seen.get(name)):
                self._publish(name, stamp)
        self._seen = stamps
        self._done = {name: stamp for name, stamp in self._done.items() if name in stamps}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look again and again, in a thread, while the context is open."""
        watcher = asyncio.create_task(self._watch(), name="tasks-folder")
        try:
            yield
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
            self._threads.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            # Shielded, so that the end of the watch waits for a publish that has begun.
            look = asyncio.create_task(self._threads.run(self._try_to_look))
            try:
                await asyncio.shield(look)
            except asyncio.CancelledError:
                await look
                raise

    def _try_to_look(self) -> None:
        try:
            self.look()
        except OSError as error:
            _log.warning("the folder of tasks cannot be read: %s", error.strerror)
        except Exception:  # whatever one look meets, the next must come
            _log.exception("the folder of tasks could not be looked through")

    def _publish(self, name: str, stamp: _Stamp) -> None:
        try:
            published = publish_checkpoint(
                self._store, self._base, self._folder / name, promote=True, actor="tasks-dir"
            )
        except StoreUnavailable:
            _log.warning("task %s cannot be published now; trying again", name)
            return
        except (StoreError, OSError) as error:
            _log.error("task %s of the folder is skipped: %s", name, error)
        else:
            if published.created or published.promoted:
                _log.info("task %s is version %d by its folder", name, published.version.version)
        self._done[name] = stamp


def publish_checkpoint(store: Store, base: BaseModel, folder: Path, *, promote: bool, actor: str) -> Published:
    """Publish a PEFT checkpoint, with the `manifest.json` beside it if there is one, as the task of the folder's name.

    Raises OSError, and what the checkpoint reader and the store raise.
    """
    fields = _read_manifest(folder / MANIFEST)
    description = fields.pop("description", "")
    allow_base_mismatch = fields.pop("allow_base_mismatch", False)
    if not isinstance(description, str) or not isinstance(allow_base_mismatch, bool):
        raise InvalidManifest("description is a text, allow_base_mismatch true or false", param="manifest")
    manifest = parse_manifest(fields)
    checkpoint = read_checkpoint(
        (folder / CONFIG).read_bytes(),
        (folder / TENSORS).read_bytes(),
        base,
        task_index=manifest.task_index,
        allow_base_mismatch=allow_base_mismatch,
    )
    return store.publish(base, folder.name, checkpoint, manifest, promote=promote, description=description, actor=actor)


def _read_manifest(file: Path) -> dict[str, object]:
    try:
        fields = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidManifest("is not JSON", param="manifest") from error
    if not isinstance(fields, dict):
        raise InvalidManifest("is not a JSON object", param="manifest")
    return fields


def _is_task(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_dir()


def _stamp(folder: Path) -> _Stamp:
    """What changes when one of the files does."""
    return tuple(_file_stamp(folder / name) for name in (CONFIG, TENSORS, MANIFEST))


def _file_stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
