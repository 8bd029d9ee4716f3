"""Names that the store does not have, cached briefly, so that repeated look-ups cost no SQL."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from prompts_store.errors import NotFound, TaskNotFound
from prompts_store.names import TaskReference

MAX_NAMES = 10_000
TTL_S = 1.0


class MissingNames:
    """Names that were not found, for `ttl_s` seconds. Beyond `max_names`, the oldest is dropped.

    A missing task covers all references to it.
    """

    def __init__(
        self, max_names: int = MAX_NAMES, ttl_s: float = TTL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_names = max_names
        self._ttl_s = ttl_s
        self._clock = clock
        self._missing: OrderedDict[TaskReference | str, tuple[NotFound, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._missing)

    def get(self, reference: TaskReference) -> NotFound | None:
        """The error for a reference that was not found a moment ago."""
        for key in (reference.task, reference):
            found = self._missing.get(key)
            if found is not None and not self._is_over(found):
                return _fresh(found[0])
        return None

    def add(self, reference: TaskReference, error: NotFound) -> None:
        """Remember that a reference was not found just now."""
        key = reference.task if isinstance(error, TaskNotFound) else reference
        self._missing[key] = (_fresh(error), self._clock() + self._ttl_s)
        self._missing.move_to_end(key)
        while self._missing and (len(self._missing) > self._max_names or self._is_over(self._oldest)):
            self._missing.popitem(last=False)

    @property
    def _oldest(self) -> tuple[NotFound, float]:
        return next(iter(self._missing.values()))

    def _is_over(self, found: tuple[NotFound, float]) -> bool:
        return self._clock() >= found[1]

    def forget(self, tasks: Collection[str]) -> None:
        """Forget the missing names of these tasks: a change may have added them."""
        for key in [key for key in self._missing if (key if isinstance(key, str) else key.task) in tasks]:
            del self._missing[key]


def _fresh(error: NotFound) -> NotFound:
    """The same error without a traceback, which would grow with every raise and keep its frames."""
    return type(error)(*error.args)
