"""Ids as OpenAI's clients know them: a prefix, and the number under which the store has it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from prompts_store.errors import NotFound

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class IdKind:
    """One kind of id; `missing` is what an id that cannot be one is answered with."""

    prefix: str
    missing: NotFound

    def of(self, number: int) -> str:
        """The id of a number."""
        return f"{self.prefix}-{number}"

    def number(self, text: str) -> int:
        """The number of an id. Raises `missing`."""
        prefix, _, number = text.rpartition("-")
        if prefix != self.prefix or not _NUMBER.fullmatch(number):
            raise type(self.missing)(*self.missing.args)
        return int(number)
