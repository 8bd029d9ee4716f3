"""Classification with heads on an encoder: half of the tasks are prompt tuning, half prefix tuning.

Random weights of BERT's base size. The lower bound is the time of the linear layers of the engine's own steps, each by
the fastest kernel there is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PrefixTuningConfig, PromptTuningConfig
from transformers import AutoModelForSequenceClassification, BertConfig

from benchmarks.beside_peft.engine import MAX_BATCH_TOKENS, answer_all
from benchmarks.beside_peft.heads import PeftHeads, are_close, logits_of, read_tasks, requests_of, save_tasks
from benchmarks.beside_peft.rounds import NUM_REQUESTS, NUM_TASKS, Case, Clock, Prompts
from benchmarks.folders import CACHE
from benchmarks.lower_bound import FastestLayers, LinearShape
from server.engine.encoder.engine import EncoderEngine
from server.engine.encoder.options import EncoderOptions
from server.model.base_model import BaseModelOptions, LoadedModel
from server.model.encoder.loading import load_encoder
from server.model.encoder.runner import EncoderRunner

NUM_VIRTUAL = 20
LENGTHS = (12, 96)
AIM_PEFT, AIM_BOUND = 1.2, 0.85


class _Engine:
    """The engine's side, which remembers the rows of its last steps."""

    def __init__(self, loaded: LoadedModel, base: Path, folders: Sequence[Path]) -> None:
        sizes = loaded.architecture
        options = EncoderOptions(NUM_REQUESTS, MAX_BATCH_TOKENS, 1_000, sizes.max_context, sizes.vocab_size)
        self._engine = EncoderEngine(EncoderRunner(loaded), options)
        self._tasks = read_tasks(loaded, base, folders)
        self._layers = _linear_layers(loaded)
        self._rows: list[int] = []

    def answer(self, prompts: Prompts) -> dict[int, torch.Tensor]:
        events, self._rows = answer_all(self._engine, requests_of(self._tasks, prompts))
        return logits_of(events)

    @torch.inference_mode()
    def bound(self, clock: Clock) -> float:
        return sum(layers.seconds(rows, clock.read) for rows in self._rows for layers in self._layers)


def build() -> Case:
    """Load both sides."""
    base = CACHE / "models" / "bert-base"
    if not (base / "config.json").exists():
        torch.manual_seed(0)
        config = BertConfig()
        config.num_labels = 4
        from_config: Callable[..., Any] = AutoModelForSequenceClassification.from_config
        from_config(config).save_pretrained(str(base))
    kinds: list[Any] = [PrefixTuningConfig, PromptTuningConfig]
    configs: list[PeftConfig] = [
        kinds[number % 2](task_type="SEQ_CLS", num_virtual_tokens=NUM_VIRTUAL) for number in range(NUM_TASKS)
    ]
    folders = save_tasks(base, configs, CACHE / "models" / "bert-base-heads")
    loaded = load_encoder(BaseModelOptions(str(base), device="cpu", dtype="float32"))
    engine = _Engine(loaded, base, folders)
    vocab_size = loaded.architecture.vocab_size

    def make_prompts(number: int) -> Prompts:
        rng = random.Random(number)
        lengths = [rng.randint(*LENGTHS) for _ in range(NUM_REQUESTS)]
        return [tuple(rng.randrange(1_000, vocab_size) for _ in range(length)) for length in lengths]

    peft = PeftHeads(base, folders)
    return Case(
        "encoder with heads", make_prompts, engine.answer, peft.answer, are_close, AIM_PEFT, engine.bound, AIM_BOUND
    )


@torch.inference_mode()
def _linear_layers(loaded: LoadedModel) -> list[FastestLayers]:
    config = loaded.model.config
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    shapes = [
        LinearShape("query, key and value as one", 3 * hidden, hidden, layers),
        LinearShape("attention output", hidden, hidden, layers),
        LinearShape("up", inner, hidden, layers),
        LinearShape("down", hidden, inner, layers),
    ]
    return [FastestLayers(shape, MAX_BATCH_TOKENS) for shape in shapes]
