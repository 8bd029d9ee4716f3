"""Task names as values of a metric's label, in a bounded number."""

from __future__ import annotations

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
        """The label of a task; "" is the base model."""
        if not task:
            return BASE_MODEL
        if task not in self._known:
            if len(self._known) >= self._max_tasks:
                return OTHER_TASKS
            self._known.add(task)
        return task
