"""The process that reads an `adapter_model.bin`: started, bounded in time, and its answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prompts_store.checkpoint.folder import check_regular
from prompts_store.checkpoint.left_out import is_embedding
from prompts_store.checkpoint_records import LeftOut
from server.cli.errors import FilesProblem

MAX_FILE_BYTES = 16 * 1024**3
"""Of an `adapter_model.bin`: a soft prompt beside the embedding layer of a large model."""
MAX_SECONDS = 120
WORKER = "server.cli.tasks.pickle_worker"
_EXCERPT = 200


@dataclass(frozen=True, slots=True)
class WantedTensors:
    """The tensors of a soft prompt by their names. `has_head` says that a head of the base model may be beside them."""

    names: Sequence[str]
    has_head: bool = False


def write_tensors(file: Path, target: Path, wanted: WantedTensors, *, max_tensor_bytes: int) -> Sequence[LeftOut]:
    """Write the wanted tensors from a pickle into `target`, a new safetensors file.

    `max_tensor_bytes` limits them as float32. Return what was left out. Raises FilesProblem and
    InvalidFolder; then `target` may exist, and be cut off.
    """
    check_regular(file, MAX_FILE_BYTES)
    order = {
        "file": str(file),
        "target": str(target),
        "names": list(wanted.names),
        "has_head": wanted.has_head,
        "max_tensor_bytes": max_tensor_bytes,
        "seconds": MAX_SECONDS,
    }
    # -P: a folder from outside may be the present one, and hold a torch.py.
    command = [sys.executable, "-P", "-m", WORKER, json.dumps(order)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS, env=environment)
    except subprocess.TimeoutExpired as error:
        raise FilesProblem(f"{file} was not read within {MAX_SECONDS} seconds") from error
    return _read_answer(file, ended)


def _read_answer(file: Path, ended: subprocess.CompletedProcess[str]) -> Sequence[LeftOut]:
    if ended.returncode < 0:
        name = signal.Signals(-ended.returncode).name
        raise FilesProblem(f"{file} cannot be read: its process was ended by {name}, at a bound of memory or time")
    if ended.returncode != 0:
        last = ended.stderr.strip().rpartition("\n")[2]
        raise FilesProblem(f"{file} cannot be converted: {last[:_EXCERPT]}")
    answer = json.loads(ended.stdout)
    if "refused" in answer:
        raise FilesProblem(f"{file} {answer['refused']}")
    return [LeftOut(name, num_bytes, is_embedding(name), was_compared=False) for name, num_bytes in answer["left_out"]]
