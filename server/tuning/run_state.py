"""The state of a run as bytes, to resume it: safetensors, with JSON in the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from prompts_store.manifest import Manifest, content_fields
from server.tuning.encoding import EncodedExample
from server.tuning.errors import CheckpointUnreadable
from server.tuning.history import History, history_from_json, history_to_json
from server.tuning.plan import TuningPlan, plan_to_json
from server.tuning.trainer import Trainer

if TYPE_CHECKING:  # it imports PEFT, without which a server starts
    from server.tuning.models.soft_prompt import SoftPrompt

_FORMAT = "softprompt tuning 4"
_READABLE = ("softprompt tuning 2", "softprompt tuning 3", _FORMAT)
_DIGESTED = "softprompt tuning 2"  # the digest of a job does not change with the form of its states
_INITIAL, _BEST, _BEST_HEAD, _NOW, _OPTIMIZER = "initial", "best", "best_head", "now", "optimizer."
"""Names of the tensors: two matrices `[num_virtual_tokens, …]`, the best head's parameters, those after the last step,
and the optimiser's state."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best validation so far."""

    step: int
    loss: float
    token_accuracy: float
    exact_match: float


@dataclass(slots=True)
class Progress:
    """Position of a run. It changes at the end of a step or a validation only.

    `learning_rate` is None until it is chosen; `finished` is the reason of the end, None before it. `num_stale` counts
    the validations since the best one, `num_extensions` the extensions so far, of which states before form 4 have none.
    """

    step: int = 0
    validated_step: int | None = None
    learning_rate: float | None = None
    best: Best | None = None
    num_stale: int = 0
    finished: str | None = None
    num_extensions: int = 0
    history: History = field(default_factory=History)


@dataclass(slots=True, eq=False)
class Matrices:
    """The soft prompt at the start and at the best validation, each `[num_virtual_tokens, …]`.

    `best_head` has the head's parameters at the best validation, none without a head.
    """

    initial: torch.Tensor
    best: torch.Tensor
    best_head: Sequence[torch.Tensor] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RunTensors:
    """Everything that a run keeps besides its progress. `parameters` and `optimizer` are those after the last step."""

    matrices: Matrices
    parameters: Sequence[torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]

    def by_name(self) -> dict[str, torch.Tensor]:
        """The tensors by their names in a checkpoint."""
        return {
            _INITIAL: self.matrices.initial,
            _BEST: self.matrices.best,
            **{f"{_BEST_HEAD}.{index}": value for index, value in enumerate(self.matrices.best_head)},
            **{f"{_NOW}.{index}": value for index, value in enumerate(self.parameters)},
            **{f"{_OPTIMIZER}{name}": value for name, value in self.optimizer.items()},
        }


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A checkpoint as read: progress, and tensors by name."""

    progress: Progress
    tensors: Mapping[str, torch.Tensor]


def job_digest(
    plan: TuningPlan, manifest: Manifest, encoded: Sequence[EncodedExample], fingerprint: Sequence[object]
) -> str:
    """Digest of the job that a checkpoint belongs to: sha256 of everything that decides the run's numbers.

    `fingerprint` holds the base model's sizes.
    """
    digest = hashlib.sha256(f"{_DIGESTED}\n".encode())
    decided = {"plan": plan_to_json(plan), "manifest": content_fields(manifest), "model": list(fingerprint)}
    digest.update(json.dumps(decided, sort_keys=True).encode())
    for example in encoded:
        answer = [example.completion] if example.label is None else [example.completion, example.label]
        teacher = [{"teacher": example.teacher}] if example.teacher else []
        digest.update(json.dumps([example.prompt, *answer, *teacher]).encode())
    return digest.hexdigest()


def pack(job: str, progress: Progress, tensors: RunTensors) -> bytes:
    """Write a checkpoint of the job with this digest. No two of the tensors may share memory."""
    fields = {**asdict(replace(progress, history=History())), "history": history_to_json(progress.history)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.by_name().items()}
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


def restore(data: bytes, job: str, trainer: Trainer, prompt: SoftPrompt) -> tuple[Progress, Matrices]:
    """Give a fresh trainer and its soft prompt the state in a checkpoint. Raises `CheckpointUnreadable`."""
    saved = unpack(data, job)
    initial, best = (_matrix(saved, name, trainer, prompt) for name in (_INITIAL, _BEST))
    head = enumerate(prompt.head_parameters)
    best_head = [saved.tensors[f"{_BEST_HEAD}.{index}"].to(parameter.device) for index, parameter in head]
    matrices = Matrices(initial, best, best_head)
    trainer.set_values(_parameters(saved, _NOW, prompt))
    found = saved.tensors.items()
    optimizer = {name.removeprefix(_OPTIMIZER): value for name, value in found if name.startswith(_OPTIMIZER)}
    trainer.restore_optimizer(optimizer)
    return saved.progress, matrices


def _matrix(saved: Saved, name: str, trainer: Trainer, prompt: SoftPrompt) -> torch.Tensor:
    """One of the two matrices. Form 2 holds the parameters instead, from which the prompt computes the matrix."""
    if name in saved.tensors:
        return saved.tensors[name].to(prompt.parameters[0].device)
    trainer.set_values(_parameters(saved, name, prompt))
    return prompt.matrix()


def _parameters(saved: Saved, name: str, prompt: SoftPrompt) -> list[torch.Tensor]:
    return [saved.tensors[f"{name}.{index}"] for index in range(len(prompt.parameters))]


def _progress(fields: dict[str, Any]) -> Progress:
    best = fields.pop("best")
    history = history_from_json(fields.pop("history"))
    return Progress(**fields, best=None if best is None else Best(**best), history=history)
