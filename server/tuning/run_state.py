"""What a run must remember to go on where it was, and its form as bytes: safetensors, with JSON in the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from prompts_store.manifest import Manifest, content_fields
from server.tuning.encoding import EncodedExample
from server.tuning.errors import CheckpointUnreadable
from server.tuning.history import History, history_from_json, history_to_json
from server.tuning.plan import TuningPlan, plan_to_json

_FORMAT = "softprompt tuning 3"
_READABLE = ("softprompt tuning 2", _FORMAT)
_DIGESTED = "softprompt tuning 2"  # the digest of a job does not change with the form of its states


@dataclass(frozen=True, slots=True)
class Best:
    """The best validation so far."""

    step: int
    loss: float
    token_accuracy: float
    exact_match: float


@dataclass(slots=True)
class Progress:
    """Where a run is: the one mutable record of it, changed at the end of each step and validation only.

    `learning_rate` is None until it is chosen; `finished` is the reason of the end.
    """

    step: int = 0
    validated_step: int | None = None
    learning_rate: float | None = None
    best: Best | None = None
    num_stale: int = 0
    finished: str | None = None
    history: History = field(default_factory=History)


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A checkpoint as read: progress, and tensors by name."""

    progress: Progress
    tensors: Mapping[str, torch.Tensor]


def job_digest(
    plan: TuningPlan, manifest: Manifest, encoded: Sequence[EncodedExample], fingerprint: Sequence[object]
) -> str:
    """Which job a checkpoint belongs to: sha256 of all that decides what a run does. `fingerprint` is the model's."""
    digest = hashlib.sha256(f"{_DIGESTED}\n".encode())
    decided = {"plan": plan_to_json(plan), "manifest": content_fields(manifest), "model": list(fingerprint)}
    digest.update(json.dumps(decided, sort_keys=True).encode())
    for example in encoded:
        digest.update(json.dumps([example.prompt, example.completion]).encode())
    return digest.hexdigest()


def pack(job: str, progress: Progress, tensors: Mapping[str, torch.Tensor]) -> bytes:
    """A checkpoint of the job with this digest. No two of the tensors may share memory."""
    fields = {**asdict(replace(progress, history=History())), "history": history_to_json(progress.history)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(contiguous, {"format": _FORMAT, "job": job, "progress": json.dumps(fields)})


def unpack(data: bytes, job: str) -> Saved:
    """Read a checkpoint of the job with this digest. Raises `CheckpointUnreadable`."""
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        form, found_job, fields = header["format"], header["job"], json.loads(header["progress"])
    except (SafetensorError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise CheckpointUnreadable("the saved state of the run is damaged") from error
    if form not in _READABLE:
        raise CheckpointUnreadable("the saved state is of another version of this program")
    if found_job != job:
        raise CheckpointUnreadable("the saved state is of another job: plan, examples, template or base model differ")
    return Saved(_progress(fields), tensors)


def _progress(fields: dict[str, Any]) -> Progress:
    best = fields.pop("best")
    history = history_from_json(fields.pop("history"))
    return Progress(**fields, best=None if best is None else Best(**best), history=history)
