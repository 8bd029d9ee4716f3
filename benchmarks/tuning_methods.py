"""Ways to teach the demo base a task: soft prompts by server/tuning, LoRA by PEFT, all weights by a plain loop."""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from demo.catalog import TASKS, draw
from demo.data.example import Example, Split
from demo.evaluation import answers, exact_match
from demo.prompt_tuning import load_base
from demo.tokenization import encode
from prompts_store.manifest import Manifest
from server.demo import BASE_DIR, BASE_NAME, TEMPLATE
from server.model.base_model import BaseModelOptions, load_base_model
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.examples import ExampleSet, read_examples
from server.tuning.job import TuningJob
from server.tuning.plan import Initialisation, Method, TuningPlan
from server.tuning.run import TuningRun
from server.tuning.split import tuning_data

TASK = next(task for task in TASKS if task.name == "route")
NUM_EXAMPLES, NUM_VALIDATION, NUM_HELDOUT = 1_000, 32, 300
NUM_STEPS, BATCH_SIZE, WARMUP_STEPS = 150, 16, 10
LORA, FULL = "LORA", "FULL"
RATES = {LORA: 5e-3, FULL: 5e-4}
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing to train. `rate_factor` is in multiples of the embeddings' RMS, None for the default."""

    method: str
    seed: int
    num_virtual_tokens: int = 16
    initialisation: str = Initialisation.SAMPLE_VOCAB
    rate_factor: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `cpu_s` is the time of the training alone, `growth_mib` its peak above the loaded model."""

    num_parameters: int
    num_bytes: int
    growth_mib: float
    cpu_s: float
    score: float


def run(setting: Setting) -> Outcome:
    """Train one setting and judge it."""
    training = draw(TASK, Split.TRAIN, NUM_EXAMPLES, 1, frozenset())
    heldout = draw(TASK, Split.TEST, NUM_HELDOUT, 1, frozenset())
    tokenizer = PreTrainedTokenizerFast.from_pretrained(BASE_DIR)
    with tempfile.TemporaryDirectory() as folder:
        train = train_weights if setting.method in (LORA, FULL) else train_soft_prompt
        model, cost = train(setting, tokenizer, training, Path(folder))
        prompts = [TEMPLATE.replace("{input}", example.input) for example in heldout]
        model.eval()
        score = exact_match(answers(model, tokenizer, prompts, TASK.max_tokens), heldout)
    return Outcome(*cost, score)


_Cost = tuple[int, int, float, float]


def train_soft_prompt(
    setting: Setting, _: PreTrainedTokenizerFast, training: Sequence[Example], folder: Path
) -> tuple[PeftModel, _Cost]:
    """Tune as the server does; return PEFT's reading of what was saved, and the cost."""
    options = BaseModelOptions(str(BASE_DIR), revision=None, dtype="float32", device="cpu", max_context=None)
    loaded, tokenizer = load_base_model(options), Tokenizer.load(str(BASE_DIR))
    embeddings = loaded.model.get_input_embeddings().weight
    assert isinstance(embeddings, torch.Tensor)
    plan = _plan(setting, float(embeddings.square().mean().sqrt()))
    validation = draw(TASK, Split.VALIDATION, NUM_VALIDATION, 1, frozenset())
    data = tuning_data(example_set(training), example_set(validation))
    assert tokenizer.eos_token_id is not None
    manifest = Manifest(template=TEMPLATE, add_special_tokens=False)
    job = TuningJob(plan, data, manifest, BASE_NAME, tokenizer.eos_token_id)

    def train() -> TuningRun:
        tuning = TuningRun(loaded, tokenizer, job)
        while not tuning.is_done:
            tuning.advance()
        return tuning

    tuning, growth, cpu_s = measured(train)
    result = tuning.result()
    (folder / "adapter_config.json").write_bytes(result.config)
    (folder / "adapter_model.safetensors").write_bytes(result.tensors)
    num_parameters = sum(value.numel() for value in tuning._trainer.values())
    model = PeftModel.from_pretrained(load_base(BASE_DIR), str(folder))
    return model, (num_parameters, len(result.tensors), growth, cpu_s)


def _plan(setting: Setting, embeddings_rms: float) -> TuningPlan:
    """The plan of a setting, with the same number of the same steps for each."""
    return TuningPlan(
        method=Method(setting.method),
        initialisation=Initialisation(setting.initialisation),
        init_text=TASK.instruction if setting.initialisation == Initialisation.TEXT else None,
        num_virtual_tokens=setting.num_virtual_tokens,
        num_steps=NUM_STEPS,
        batch_size=BATCH_SIZE,
        warmup_steps=WARMUP_STEPS,
        max_micro_batch_tokens=2048,
        learning_rate=None if setting.rate_factor is None else setting.rate_factor * embeddings_rms,
        validate_every=NUM_STEPS,
        patience=None,
        seed=setting.seed,
    )


def train_weights(
    setting: Setting, tokenizer: PreTrainedTokenizerFast, training: Sequence[Example], folder: Path
) -> tuple[PreTrainedModel | PeftModel, _Cost]:
    """Train LoRA matrices, or every weight, by the same number of the same steps."""
    torch.manual_seed(setting.seed)
    base = load_base(BASE_DIR)
    model: PreTrainedModel | PeftModel = base.requires_grad_(True) if setting.method == FULL else with_lora(base)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    prompts = encode(tokenizer, [TEMPLATE.replace("{input}", example.input) for example in training])
    outputs = [[*ids, tokenizer.eos_token_id] for ids in encode(tokenizer, [example.output for example in training])]
    _, growth, cpu_s = measured(lambda: optimise(model, parameters, list(zip(prompts, outputs, strict=True)), setting))
    model.save_pretrained(str(folder))
    num_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return model, (sum(parameter.numel() for parameter in parameters), num_bytes, growth, cpu_s)


def with_lora(base: PreTrainedModel) -> PeftModel:
    """Return the base with fresh LoRA matrices of rank 8 on queries and values."""
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    model = get_peft_model(base, config)
    assert isinstance(model, PeftModel)
    return model


def optimise(
    model: PreTrainedModel | PeftModel,
    parameters: list[torch.nn.Parameter],
    rows: list[tuple[list[int], list[int]]],
    setting: Setting,
) -> None:
    """AdamW, linear decay after warm-up, gradients clipped to 1: what server/tuning does by default."""
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
    rng = random.Random(setting.seed)
    for step in range(NUM_STEPS):
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        optimizer.param_groups[0]["lr"] = RATES[setting.method] * warm * (1 - step / NUM_STEPS)
        batch = rng.sample(rows, BATCH_SIZE)
        width = max(len(prompt) + len(output) for prompt, output in batch)
        ids = torch.zeros((BATCH_SIZE, width), dtype=torch.long)
        labels = torch.full((BATCH_SIZE, width), -100)
        for row, (prompt, output) in enumerate(batch):
            ids[row, : len(prompt) + len(output)] = torch.tensor(prompt + output)
            labels[row, len(prompt) : len(prompt) + len(output)] = torch.tensor(output)
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def example_set(examples: Sequence[Example]) -> ExampleSet:
    """Return examples as the server reads them of a file."""
    lines = [json.dumps({"text": example.input, "label": example.output}) for example in examples]
    return read_examples("\n".join(lines).encode())


def measured(train: Callable[[], _Found]) -> tuple[_Found, float, float]:
    """Return what training gives, its peak of resident memory above what was there in MiB, and its CPU seconds."""
    Path("/proc/self/clear_refs").write_text("5")
    before, began = resident_kib("VmRSS"), time.process_time()
    found = train()
    return found, (resident_kib("VmHWM") - before) / 1024, time.process_time() - began


def resident_kib(field: str) -> int:
    """Return a size of this process's memory as Linux tells it."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1])
