"""Task names as values of a metric's label, in a bounded number."""

from __future__ import annotations

from collections.abc import Iterable

BASE_MODEL = "(base)"
OTHER_TASKS = "(other)"


class TaskLabels:
    """Labels for tasks. The first `max_tasks` tasks in use keep their names; all others share `OTHER_TASKS`.

    Only names that the store has resolved may be asked for; neither of the two words in brackets is a task's name.
    """

    def __init__(self, max_tasks: int) -> None:
        self._max_tasks = max_tasks
        self._known: set[str] = set()

    def of(self, task: str) -> str:
        """The label of a task that is used, which keeps its name from now on; "" is the base model."""
        if task and len(self._known) < self._max_tasks:
            self._known.add(task)
        return self.known(task)

    def known(self, task: str) -> str:
        """The same, but a task without a label of its own gets none."""
        if not task:
            return BASE_MODEL
        return task if task in self._known else OTHER_TASKS

    def forget(self, tasks: Iterable[str]) -> None:
        """Take the labels of tasks back, for others."""
        self._known.difference_update(tasks)
