"""A store that counts its reads and can be away or slow, and what tests put into it."""

import threading

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from prompts_store.records import AliasTarget
from tests.fakes.checkpoints import BASE, prompt_tuning_files


class CountedStore:
    """A store that counts its reads, and can be away, slow or corrupt."""

    def __init__(self, store):
        self._store = store
        self.calls = []
        self.failure = None
        self.gate = threading.Event()
        self.gate.set()
        self.has_read = threading.Event()
        """A read has its result; a closed gate keeps it."""

    def __getattr__(self, name):
        operation = getattr(self._store, name)

        def counted(*args, **kwargs):
            self.calls.append(name)
            if self.failure is not None:
                raise self.failure
            result = operation(*args, **kwargs)
            self.has_read.set()
            assert self.gate.wait(5)
            return result

        return counted


def publish(store, task="sentiment", *, seed=0, promote=False, **manifest):
    files = prompt_tuning_files(seed=seed)
    checkpoint = read_checkpoint(
        *files.values(), BASE, task_index=None, allow_base_mismatch=False, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES
    )
    return store.publish(task, checkpoint, Manifest(**manifest), promote=promote).version


def move(store, alias, *versions):
    targets = [AliasTarget(version, 100 // len(versions)) for version in versions]
    store.put_alias(BASE.fingerprint, "sentiment", alias, targets, if_match=None, must_not_exist=False)
