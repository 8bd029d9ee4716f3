"""Names of a base model: hub ids and folders. One name has several spellings.

A checkpoint names its base in the spelling that PEFT was given, often on another machine. Text decides, except in
`is_folder_of`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection

MAX_BASE_NAME_LENGTH = 1024

_SEPARATOR = re.compile(r"[/\\]")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
_CACHE_PREFIX = "models--"


def is_base_name(name: str, names: Collection[str]) -> bool:
    """Return whether `name` is one of `names`, in any spelling of the same path or hub id.

    A name without a separator has one spelling: a task reference never has a second meaning by this. So has a name of
    more than `MAX_BASE_NAME_LENGTH` characters.
    """
    if name in names or len(name) > MAX_BASE_NAME_LENGTH or not _SEPARATOR.search(name):
        return name in names
    spelling = _spelling(name)
    return spelling != "." and any(spelling == _spelling(other) for other in names)


def is_tail_of(name: str, names: Collection[str]) -> bool:
    """Return whether `name` is a relative path at the end of an absolute path among `names`.

    The folder that the path starts from is unknown, so its leading `..` are ignored.
    """
    tail = _spelling(name)
    while tail.startswith("../"):
        tail = tail.removeprefix("../")
    if not _SEPARATOR.search(name) or tail in (".", "..") or _ABSOLUTE.match(tail):
        return False
    absolute = (path for path in map(_spelling, names) if _ABSOLUTE.match(path))
    return any(path.endswith(f"/{tail}") for path in absolute)


def is_folder_of(name: str, names: Collection[str]) -> bool:
    """Return whether `name` and an absolute path among `names` are one folder of this machine.

    Follows links, so the name must come from a user of this machine, never from a client elsewhere.
    """
    folder = os.path.realpath(name)
    return any(os.path.isabs(other) and os.path.realpath(other) == folder for other in names)


def hub_id_of(path: str) -> str | None:
    """Return the hub id whose snapshot in a hub cache `path` is: `…/models--ORG--NAME/snapshots/REVISION`."""
    match _normal(path).split("/"):
        case [*_, repository, "snapshots", _] if repository.startswith(_CACHE_PREFIX):
            return repository.removeprefix(_CACHE_PREFIX).replace("--", "/") or None
    return None


def _spelling(name: str) -> str:
    """Return one spelling for all that mean the same by their text."""
    return hub_id_of(name) or _normal(name)


def _normal(path: str) -> str:
    """Return a path with single slashes, without `.`, inner `..` and the slash at its end."""
    normal = posixpath.normpath(path.replace("\\", "/"))
    return f"/{normal.lstrip('/')}" if normal.startswith("/") else normal
