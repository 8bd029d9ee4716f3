"""Trains a setting: soft prompts by `server/tuning`, LoRA by PEFT, all weights by a plain loop; float32, one thread."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.tuning.settings import NUM_SWEEP_STEPS, Kind, Setting
from benchmarks.tuning.tasks import LabelledTask
from server.app import Workbench
from server.tuning.encoding import EncodedExample, encode_examples
from server.tuning.job import TuningJob, TuningResult
from server.tuning.plan import Initialisation, TuningPlan
from server.tuning.run import TuningRun
from server.tuning.split import TuningData

NUM_STEPS, BATCH_SIZE, WARMUP_STEPS = 400, 16, 10
RATES = {Kind.LORA: 1e-3, Kind.FULL: 2e-5}
"""Of AdamW on a real model. On the demo base, which is small, `DEMO_FACTOR` times as much."""
DEMO_FACTOR = 10
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_s` is the time of the training alone, `growth_mib` its peak above the loaded model."""

    num_parameters: int
    num_bytes: int
    num_steps: int
    growth_mib: float
    cpu_s: float


def train_soft_prompt(
    bench: Workbench, task: LabelledTask, setting: Setting, data: TuningData
) -> tuple[TuningJob, TuningResult, Cost]:
    """Tune as the server does."""
    assert bench.end_token_id is not None
    job = TuningJob(plan_of(setting, task), data, bench.manifest, bench.base_id, bench.end_token_id)

    def train() -> TuningRun:
        tuning = TuningRun(bench.loaded, bench.tokenizer, job)
        while not tuning.is_done:
            tuning.advance()
        return tuning

    tuning, growth, cpu_s = measured(train)
    result = tuning.result()
    num_parameters = sum(value.numel() for value in tuning._trainer.values())
    return job, result, Cost(num_parameters, len(result.tensors), int(result.metrics["num_steps"]), growth, cpu_s)


def plan_of(setting: Setting, task: LabelledTask) -> TuningPlan:
    """The plan of a setting; what it leaves open is the product's default."""
    given = {
        "method": setting.method,
        "initialisation": setting.initialisation,
        "init_text": task.instruction if setting.initialisation is Initialisation.TEXT else None,
        "learning_rate_multiplier": setting.rate_multiplier,
        "batch_size": setting.batch_size,
        "num_virtual_tokens": setting.num_virtual_tokens,
        "num_steps": NUM_SWEEP_STEPS if setting.is_short else None,
    }
    return TuningPlan(seed=setting.seed, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def train_weights(bench: Workbench, task: LabelledTask, setting: Setting, data: TuningData, folder: Path) -> Cost:
    """Train LoRA matrices, or every weight, by as many steps as a default run has at first; save the whole model."""
    torch.manual_seed(setting.seed)
    base = AutoModelForCausalLM.from_pretrained(task.base_model, dtype=torch.float32)
    model: PreTrainedModel | PeftModel = base if setting.kind is Kind.FULL else with_lora(base)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    examples = encode_examples(
        bench.tokenizer, bench.manifest, data.training, end_token_id=bench.end_token_id, max_tokens=512
    )
    rate = RATES[setting.kind] * (DEMO_FACTOR if task.base_model.parent.name != ".real" else 1)
    _, growth, cpu_s = measured(lambda: optimise(model, parameters, examples, rate, setting.seed))
    num_parameters = sum(parameter.numel() for parameter in parameters)
    merged = model if isinstance(model, PreTrainedModel) else model.merge_and_unload()
    for file in task.base_model.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    merged.save_pretrained(folder)
    return Cost(num_parameters, num_parameters * 4, NUM_STEPS, growth, cpu_s)


def with_lora(base: PreTrainedModel) -> PeftModel:
    """The base with fresh LoRA matrices of rank 8 on queries and values."""
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    model = get_peft_model(base, config)
    assert isinstance(model, PeftModel)
    return model


def optimise(
    model: PreTrainedModel | PeftModel,
    parameters: list[torch.nn.Parameter],
    examples: Sequence[EncodedExample],
    rate: float,
    seed: int,
) -> None:
    """AdamW, linear decay after warm-up, gradients clipped to 1: what `server/tuning` does by default."""
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
    rng = random.Random(seed)
    model.train()
    for step in range(NUM_STEPS):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / WARMUP_STEPS) * (1 - step / NUM_STEPS)
        batch = rng.sample(list(examples), BATCH_SIZE)
        width = max(example.num_tokens for example in batch)
        ids = torch.zeros((BATCH_SIZE, width), dtype=torch.long)
        labels = torch.full((BATCH_SIZE, width), -100)
        for row, example in enumerate(batch):
            ids[row, : example.num_tokens] = torch.tensor(example.prompt + example.completion)
            labels[row, len(example.prompt) : example.num_tokens] = torch.tensor(example.completion)
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def measured(train: Callable[[], _Found]) -> tuple[_Found, float, float]:
    """What training gives, its peak of resident memory above what was there in MiB, and its CPU seconds."""
    Path("/proc/self/clear_refs").write_text("5")
    before, began = resident_kib("VmRSS"), time.process_time()
    found = train()
    return found, (resident_kib("VmHWM") - before) / 1024, time.process_time() - began


def resident_kib(field: str) -> int:
    """A size of this process's memory as Linux tells it."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1])
