"""Names and task references. One strict pattern checks them, because names come from outside."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from prompts_store.errors import InvalidName, NameReserved

PRODUCTION = "production"
MAX_VERSION = 2**31 - 1
TASK_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")

_MAX_NAME_LENGTH = 64
_OTHER_CHARACTERS = re.compile(r"[^a-z0-9._-]+")
_VERSION_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
NAME_RULE = "1 to 64 of the characters a-z, 0-9, '.', '_' and '-', the first and the last a letter or a digit"
"""The rule of `TASK_NAME` in words."""


@dataclass(frozen=True, slots=True)
class TaskReference:
    """A task, with a version or an alias, in a request's `model`. Exactly one of the two is set."""

    task: str
    version: int | None
    alias: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `task` (its `production` alias), `task@3` or `task@alias`. Raises InvalidName."""
        task, at, selector = text.partition("@")
        check_task_name(task)
        if not at:
            return cls(task, None, PRODUCTION)
        if _VERSION_NUMBER.fullmatch(selector) and int(selector) <= MAX_VERSION:
            return cls(task, int(selector), None)
        check_alias_name(selector)
        return cls(task, None, selector)

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.task}@{self.version}"
        return self.task if self.alias == PRODUCTION else f"{self.task}@{self.alias}"


def check_task_name(name: str) -> None:
    """Raise InvalidName unless `name` is a valid task name."""
    if not TASK_NAME.fullmatch(name):
        raise InvalidName(f"A task name must have {NAME_RULE}.")


def task_name_of(text: str) -> str:
    """Turn a text into a task name; a task name stays as it is. Raises InvalidName if no letter or digit is left.

    The text is put into lower case. Each run of characters that no task name has becomes one "-". What a task name
    must not begin or end with is cut off.
    """
    if TASK_NAME.fullmatch(text):
        return text
    name = _OTHER_CHARACTERS.sub("-", text.lower()).strip("._-")[:_MAX_NAME_LENGTH].rstrip("._-")
    if not name:
        raise InvalidName(f"No task name can be made of this; a task name must have {NAME_RULE}.")
    return name


def check_alias_name(name: str) -> None:
    """Raise InvalidName unless `name` is a valid alias name. Digits alone would read as a version number."""
    if not TASK_NAME.fullmatch(name) or name.isdigit():
        raise InvalidName(f"An alias name must have {NAME_RULE}; it must not be a number.")


def check_not_reserved(name: str, base_names: Collection[str]) -> None:
    """Raise NameReserved for a name of the base model."""
    if name in base_names:
        raise NameReserved("This is a name of the base model; a task needs another one.")
