"""`x-softprompt-sticky-key`: who asks, so that a weighted alias always answers them with the same version.

The key only ever goes into a hash together with the alias; it is neither stored nor logged.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header

MAX_LENGTH = 256
"""In characters, which in a header are bytes."""

_DESCRIPTION = (
    "Any text that stands for the caller, such as a hashed user id: where `model` names an alias of several versions, "
    "the same key is answered by the same version, and raising a version's weight moves callers to that version only."
)


async def _sticky_key(
    x_softprompt_sticky_key: Annotated[
        str | None, Header(min_length=1, max_length=MAX_LENGTH, description=_DESCRIPTION)
    ] = None,
) -> bytes | None:
    return None if x_softprompt_sticky_key is None else x_softprompt_sticky_key.encode("latin-1", "replace")


StickyKeyDep = Annotated[bytes | None, Depends(_sticky_key)]
