"""The forms of answers, as they are handed to vLLM's process: with each sequence, over one vocabulary in a file."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from server.engine.errors import StepFailed
from server.structured_outputs.compiled import CompiledConstraint
from server.structured_outputs.constraint import Constraint, Form
from server.structured_outputs.vocabulary import Vocabulary

FORM = "softprompt_form"
"""The member of `SamplingParams.extra_args` that describes a form."""


class Forms:
    """Describes forms for vLLM's process, which reads vocabularies from `folder`. Belongs to one event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: WeakKeyDictionary[Vocabulary, asyncio.Future[str]] = WeakKeyDictionary()

    async def described(self, compiled: CompiledConstraint) -> dict[str, Any]:
        """A form as `extra_args` have it, once its vocabulary can be read. Raises `StepFailed`."""
        constraint = compiled.constraint
        return {
            "form": constraint.form.value,
            "source": constraint.source,
            "after_space": compiled.after_space,
            "vocabulary": await self._name(compiled.vocabulary),
        }

    async def _name(self, vocabulary: Vocabulary) -> str:
        if vocabulary not in self._written:
            self._written[vocabulary] = asyncio.ensure_future(asyncio.to_thread(self._write, vocabulary))
        try:
            return await asyncio.shield(self._written[vocabulary])
        except OSError as error:
            del self._written[vocabulary]
            raise StepFailed("the file of the base model's tokens cannot be written") from error

    def _write(self, vocabulary: Vocabulary) -> str:
        content = vocabulary.to_json().encode()
        name = f"{hashlib.sha256(content).hexdigest()}.vocabulary"
        path = self._folder / f"{name}.{os.getpid()}"
        path.write_bytes(content)
        path.replace(self._folder / name)
        return name


def constraint_of(described: dict[str, Any]) -> Constraint:
    """The form of a description."""
    return Constraint(Form(described["form"]), described["source"])
