"""Tasks with a classification head: PEFT saves their checkpoints, and both sides read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

from benchmarks.beside_peft.rounds import NUM_TASKS, Prompts
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseModel
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from server.engine.events import Encoded, EngineEvent
from server.engine.request import Encode, Request
from server.model.base_model import LoadedModel
from server.model.heads.head import Head
from server.model.heads.heads import Heads
from server.model.heads.held import HeldParameters
from server.model.prefix import Prefix, prefix_of

_PROMPT_STD = 0.05
_MAX_DIFFERENCE = 1e-3

_load: Callable[..., Any] = AutoModelForSequenceClassification.from_pretrained


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One task as the engine takes it."""

    name: str
    prefix: Prefix
    head: Head


def save_tasks(base: Path, configs: Sequence[PeftConfig], folder: Path) -> list[Path]:
    """A checkpoint of each configuration with random values; kept in `folder`."""
    saved = [folder / f"task-{number}" for number in range(len(configs))]
    if not (saved[-1] / "adapter_config.json").exists():
        for number, (config, each) in enumerate(zip(configs, saved, strict=True)):
            torch.manual_seed(number)
            wrapped: Any = get_peft_model(_load(str(base)), config)
            with torch.no_grad():
                for parameter in wrapped.parameters():
                    if parameter.requires_grad:
                        parameter.normal_(std=_PROMPT_STD)
            wrapped.save_pretrained(str(each))
    return saved


def read_tasks(loaded: LoadedModel, base: Path, folders: Sequence[Path]) -> list[Task]:
    """The tasks as the engine takes them."""
    sizes = loaded.architecture
    heads = Heads(loaded.model.config, sizes.kind, HeldParameters([base / "model.safetensors"]), loaded.device)
    num_kv_heads, head_dim = sizes.uniform_kv or (None, None)
    stored = BaseModel(
        fingerprint="f",
        names=(),
        hidden_size=sizes.hidden_size,
        num_layers=sizes.num_layers,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        max_context=sizes.max_context,
        serving_dtype="float32",
        num_attention_heads=sizes.num_attention_heads,
        kind=sizes.kind,
        heads=heads,
    )
    return [_read(stored, heads, folder) for folder in folders]


def _read(base: BaseModel, heads: Heads, folder: Path) -> Task:
    checkpoint = read_checkpoint(
        (folder / "adapter_config.json").read_bytes(),
        (folder / "adapter_model.safetensors").read_bytes(),
        base,
        task_index=None,
        allow_base_mismatch=True,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )
    return Task(folder.name, prefix_of(checkpoint.prefix), heads.build(checkpoint, Manifest()))


def requests_of(tasks: Sequence[Task], prompts: Prompts) -> list[Request[Encode]]:
    """One request per prompt; tasks take turns."""
    taken = [tasks[index % len(tasks)] for index in range(len(prompts))]
    return [
        Request(str(index), task.name, prompt, Encode(task.head), task.prefix)
        for index, (task, prompt) in enumerate(zip(taken, prompts, strict=True))
    ]


def logits_of(events: Mapping[int, Sequence[EngineEvent]]) -> dict[int, torch.Tensor]:
    """The logits of each request, which must have been answered."""
    ended = {index: each[-1] for index, each in events.items()}
    return {index: torch.from_numpy(event.values) for index, event in ended.items() if isinstance(event, Encoded)}


def are_close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether two answers differ by rounding only."""
    return float((ours - theirs).abs().max()) < _MAX_DIFFERENCE


class PeftHeads:
    """The same tasks in PEFT, one adapter each. PEFT does not mix types in one model: each type has one of its own."""

    def __init__(self, base: Path, folders: Sequence[Path]) -> None:
        self._models: list[Any] = []
        by_type: dict[str, Any] = {}
        for folder in folders:
            kind = str(PeftConfig.from_pretrained(str(folder)).peft_type)
            if kind in by_type:
                by_type[kind].load_adapter(str(folder), adapter_name=folder.name)
            else:
                by_type[kind] = PeftModel.from_pretrained(
                    _load(str(base)), str(folder), adapter_name=folder.name
                ).eval()
            self._models.append(by_type[kind])
        self._names = [folder.name for folder in folders]

    @torch.inference_mode()
    def answer(self, prompts: Prompts, indices: Sequence[int]) -> dict[int, torch.Tensor]:
        """The logits of the requests with these indices, one by one."""
        answers = {}
        for index in indices:
            model = self._models[index % NUM_TASKS]
            model.set_adapter(self._names[index % NUM_TASKS])
            ids = torch.tensor([prompts[index]])
            answers[index] = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return answers
