"""`softprompt task convert`: an old checkpoint folder, whose tensors are a pickle, into one that can be published."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from prompts_store.checkpoint.folder import CONFIG, MANIFEST, PICKLE, TENSORS, read_regular
from prompts_store.checkpoint_records import LeftOut
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES
from server.cli.errors import FilesProblem
from server.cli.output import one_line, working
from server.cli.tasks.pickle_process import WantedTensors, write_tensors

_Result = TypeVar("_Result")


def convert(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help=f"Folder with an {PICKLE}.", show_default=False)],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder to write to, new or empty.", show_default="DIR itself"),
    ] = None,
    max_tensor_bytes: Annotated[
        int,
        typer.Option("--max-tensor-bytes", min=1, help="Most bytes of the soft prompt's tensors, as for `serve`."),
    ] = DEFAULT_MAX_TENSOR_BYTES,
) -> None:
    """Convert the `adapter_model.bin` of an old PEFT checkpoint into the `adapter_model.safetensors` of a new one.

    The file is a pickle. It is read without running its code, in a process of its own with bounds on memory and time.
    """
    _check(folder)
    config = read_regular(folder / CONFIG, MAX_CONFIG_BYTES)
    wanted = _wanted(config)

    def write(target: Path) -> Sequence[LeftOut]:
        return write_tensors(folder / PICKLE, target, wanted, max_tensor_bytes=max_tensor_bytes)

    with working(f"Converting {one_line(str(folder))}"):
        left_out = _write_beside(folder, write) if out is None else _write_folder(folder, out, config, write)
    print(
        f"{folder} -> {(out or folder) / TENSORS}: {', '.join(wanted.names)}{' and a head' if wanted.has_head else ''}"
    )
    for tensor in left_out:
        print(one_line(tensor.describe()))


def _wanted(config: bytes) -> WantedTensors:
    """Return the tensors of a configuration's type. Raises InvalidCheckpoint."""
    from prompts_store.checkpoint.config_reader import may_have_head, read_peft_type  # needs NumPy
    from prompts_store.checkpoint.layouts import LAYOUTS

    return WantedTensors(LAYOUTS[read_peft_type(config)].tensor_names, may_have_head(config))


def _check(folder: Path) -> None:
    """Raise FilesProblem unless a folder has a pickle and nothing newer."""
    if not folder.is_dir():
        raise FilesProblem(f"{folder} is not a folder")
    if os.path.lexists(folder / TENSORS):
        also = f" beside {PICKLE}" if os.path.lexists(folder / PICKLE) else ""
        raise FilesProblem(f"{folder} has {TENSORS}{also}, which `softprompt task publish` takes; nothing to convert")
    if not os.path.lexists(folder / PICKLE):
        raise FilesProblem(f"{folder} has no {PICKLE}")


def _write_beside(folder: Path, write: Callable[[Path], _Result]) -> _Result:
    """Write the tensors into a new file of the folder, which gets its name when it is whole. Raises FilesProblem."""
    part = folder / f".{TENSORS}.{secrets.token_hex(8)}"
    try:
        result = write(part)
        part.replace(folder / TENSORS)
    except OSError as error:
        raise FilesProblem(f"cannot write {folder}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return result


def _write_folder(folder: Path, out: Path, config: bytes, write: Callable[[Path], _Result]) -> _Result:
    """Write a whole checkpoint into a new folder, which gets its name when it is whole.

    Raises FilesProblem and InvalidFolder.
    """
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise FilesProblem(f"{out} exists, and is no empty folder")
    place = out.resolve()
    part = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    try:
        part.mkdir()
        (part / CONFIG).write_bytes(config)
        if os.path.lexists(folder / MANIFEST):
            (part / MANIFEST).write_bytes(read_regular(folder / MANIFEST, MAX_MANIFEST_BYTES))
        result = write(part / TENSORS)
        part.rename(place)
    except OSError as error:
        raise FilesProblem(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return result
