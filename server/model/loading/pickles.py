"""Weights of old releases, `pytorch_model.bin`: transformers reads their tensors, and runs no code that they hold."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_ZIP = b"PK\x03\x04"


def check_pickles(files: Sequence[Path]) -> None:
    """Raise ValueError naming the first file that has lost its end. The oldest format cannot be checked."""
    for file in files:
        with file.open("rb") as stream:
            is_zip = stream.read(len(_ZIP)) == _ZIP
        if is_zip and not zipfile.is_zipfile(file):
            raise ValueError(f"{file.name} is not whole: download or copy it again")


@contextmanager
def pickles_named(files: Sequence[Path]) -> Iterator[None]:
    """Raise ValueError for a file of which PyTorch refuses a part, in place of an advice to run its code."""
    try:
        yield
    except pickle.UnpicklingError as error:
        names = " or ".join(file.name for file in files)
        raise ValueError(
            f"{names} is no pickle of tensors alone, and code in it is never run: save the model as safetensors, with "
            "the library that wrote it"
        ) from error
