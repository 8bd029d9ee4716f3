"""Answers of an encoder-decoder: random weights in the shape of t5-small, soft prompts before the encoder's input.

Both sides decode greedily, and must answer the same tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from benchmarks.beside_peft.engine import answer_all, build_engine
from benchmarks.beside_peft.rounds import NUM_REQUESTS, NUM_TASKS, Case, Prompts
from benchmarks.folders import CACHE
from server.engine.events import TokenEvent
from server.engine.paged.engine import Engine
from server.engine.request import Generate, Request, SamplingParams
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.prefix import Prefix, PrefixKind

NUM_VIRTUAL, NUM_INPUT, NUM_OUTPUT = 20, 64, 48
AIM = 5.0
_EMBEDDING_STD = 0.3

_Tokens = dict[int, tuple[int, ...]]


def build() -> Case:
    """Load both sides."""
    base = CACHE / "models" / "t5-small"
    if not (base / "config.json").exists():
        _save_model(base)
    loaded = load_base_model(BaseModelOptions(str(base), device="cpu"))
    engine = _Engine(build_engine(loaded), loaded.architecture.hidden_size)
    return Case("encoder-decoder", _make_prompts, engine.answer, _Peft(base).answer, tuple.__eq__, AIM)


def _save_model(folder: Path) -> None:
    """Random weights whose answers depend on their input."""
    ids: dict[str, Any] = {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=32_128, initializer_factor=1.0, **ids)
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.shared.weight.normal_(std=_EMBEDDING_STD)
    model.generation_config.eos_token_id = None
    model.save_pretrained(str(folder))


def _make_prompts(number: int) -> Prompts:
    rng = random.Random(number)
    return [tuple(rng.randrange(2, 32_000) for _ in range(NUM_INPUT)) for _ in range(NUM_REQUESTS)]


def _make_rows(task: int, hidden_size: int) -> torch.Tensor:
    """The soft prompt of a task."""
    generator = torch.Generator().manual_seed(task)
    return torch.randn(NUM_VIRTUAL, hidden_size, generator=generator) * _EMBEDDING_STD


class _Engine:
    """All requests at once through this engine's step loop."""

    def __init__(self, engine: Engine, hidden_size: int) -> None:
        self._engine = engine
        self._prefixes = [
            Prefix(f"{task:064x}", PrefixKind.EMBEDDINGS, _make_rows(task, hidden_size)) for task in range(NUM_TASKS)
        ]

    def answer(self, prompts: Prompts) -> _Tokens:
        kind = Generate(SamplingParams(max_tokens=NUM_OUTPUT, temperature=0.0, ignore_eos=True))
        tasks = [index % NUM_TASKS for index in range(len(prompts))]
        requests = [
            Request(str(index), f"t{task}", prompt, kind, self._prefixes[task])
            for index, (task, prompt) in enumerate(zip(tasks, prompts, strict=True))
        ]
        events, _ = answer_all(self._engine, requests)
        return {
            index: tuple(event.token_id for event in each if isinstance(event, TokenEvent))
            for index, each in events.items()
        }


class _Peft:
    """The same requests one after another through PEFT's `generate`, each with its task's adapter."""

    def __init__(self, folder: Path) -> None:
        base: Any = AutoModelForSeq2SeqLM.from_pretrained(str(folder)).eval()
        config = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=NUM_VIRTUAL, inference_mode=True)
        wrap: Callable[..., Any] = get_peft_model
        self._model = wrap(base, config, adapter_name="0").eval()
        for task in range(1, NUM_TASKS):
            self._model.add_adapter(str(task), config)
        for task in range(NUM_TASKS):
            weight = self._model.prompt_encoder[str(task)].embedding.weight
            with torch.no_grad():
                weight[:NUM_VIRTUAL] = _make_rows(task, weight.shape[1])

    @torch.inference_mode()
    def answer(self, prompts: Prompts, indices: Sequence[int]) -> _Tokens:
        answers = {}
        for index in indices:
            self._model.set_adapter(str(index % NUM_TASKS))
            ids = torch.tensor([prompts[index]])
            output = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                num_beams=1,
                max_new_tokens=NUM_OUTPUT,
            )
            answers[index] = tuple(output[0, 1:].tolist())
        return answers
