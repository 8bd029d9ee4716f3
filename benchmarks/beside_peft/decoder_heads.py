"""Classification with heads on a decoder: a long soft prompt before short texts.

The engine computes a soft prompt once and keeps its keys and values; PEFT computes it with each request.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from peft import PromptTuningConfig

from benchmarks.beside_peft.engine import answer_all, build_engine
from benchmarks.beside_peft.heads import PeftHeads, are_close, logits_of, read_tasks, requests_of, save_tasks
from benchmarks.beside_peft.rounds import NUM_REQUESTS, NUM_TASKS, Case, Prompts
from benchmarks.folders import CACHE
from benchmarks.models import LLAMA_135M, prepare
from server.model.base_model import BaseModelOptions, load_base_model

NUM_VIRTUAL, NUM_TEXT = 100, 40
AIM = 2.5


def build() -> Case:
    """Load both sides."""
    model = prepare(LLAMA_135M)
    base = Path(model.folder)
    configs = [PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=NUM_VIRTUAL) for _ in range(NUM_TASKS)]
    folders = save_tasks(base, configs, CACHE / "models" / f"{LLAMA_135M}-heads")
    loaded = load_base_model(BaseModelOptions(str(base), device="cpu", dtype="float32"))
    engine = build_engine(loaded)
    tasks = read_tasks(loaded, base, folders)

    def make_prompts(number: int) -> Prompts:
        rng = random.Random(number)
        return [tuple(rng.randrange(3, model.vocab_size) for _ in range(NUM_TEXT)) for _ in range(NUM_REQUESTS)]

    def run(prompts: Prompts) -> dict[int, torch.Tensor]:
        return logits_of(answer_all(engine, requests_of(tasks, prompts))[0])

    peft = PeftHeads(base, folders)
    return Case("decoder with heads", make_prompts, run, peft.answer, are_close, AIM)
