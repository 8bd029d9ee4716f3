"""Soft prompts for the demo tasks, tuned with PEFT on the frozen base model as it is shipped (fp16 rounded)."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, PrefixTuningConfig, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from demo.catalog import DemoTask
from demo.data.example import Example
from demo.tokenization import encode
from server.demo import BASE_NAME, TEMPLATE


@dataclass(frozen=True, slots=True)
class TuningRecipe:
    """Settings that all tasks share; steps and learning rate are the task's own."""

    num_examples: int = 4000
    batch_size: int = 16
    warmup_steps: int = 10
    max_grad_norm: float = 1.0


def load_base(folder: Path) -> PreTrainedModel:
    """The shipped base model in fp32, frozen."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    model.requires_grad_(False)
    return model


def with_prompt(base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, task: DemoTask, base_dir: Path) -> PeftModel:
    """``base`` with a fresh soft prompt of ``task``; draws from torch's global generator."""
    config: PromptTuningConfig | PrefixTuningConfig
    if task.peft_type == "PREFIX_TUNING":
        config = PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=task.num_virtual_tokens)
    elif task.init_text is not None:
        config = PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=task.num_virtual_tokens,
            prompt_tuning_init=PromptTuningInit.TEXT,
            prompt_tuning_init_text=task.init_text,
            tokenizer_name_or_path=str(base_dir),
        )
    else:
        config = PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=task.num_virtual_tokens,
            prompt_tuning_init=PromptTuningInit.RANDOM,
        )
    model = get_peft_model(base, config)
    assert isinstance(model, PeftModel)
    return model


def tune(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    task: DemoTask,
    examples: list[Example],
    seed: int,
    recipe: TuningRecipe = TuningRecipe(),
) -> list[float]:
    """Train the prompt in place; returns the loss of each step."""
    rows = _rows(tokenizer, examples)
    rng = random.Random(seed)
    prompt = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(prompt, lr=task.learning_rate, weight_decay=0.0)
    losses = []
    for step in range(task.num_steps):
        warm = min(1.0, (step + 1) / recipe.warmup_steps)
        optimizer.param_groups[0]["lr"] = task.learning_rate * warm * (1 - step / task.num_steps)
        loss = _loss(model, rng.sample(rows, recipe.batch_size), tokenizer.pad_token_id)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(prompt, recipe.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def _rows(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> list[tuple[list[int], list[int]]]:
    prompts = encode(tokenizer, [TEMPLATE.replace("{input}", example.input) for example in examples])
    outputs = encode(tokenizer, [example.output for example in examples])
    return [(prompt, [*output, tokenizer.eos_token_id]) for prompt, output in zip(prompts, outputs, strict=True)]


def _loss(model: PeftModel, rows: list[tuple[list[int], list[int]]], pad_id: int) -> torch.Tensor:
    """Cross-entropy of the output tokens. Padding is on the right, which a causal model never attends to."""
    width = max(len(prompt) + len(output) for prompt, output in rows)
    ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), -100)
    for row, (prompt, output) in enumerate(rows):
        ids[row, : len(prompt) + len(output)] = torch.tensor(prompt + output)
        labels[row, len(prompt) : len(prompt) + len(output)] = torch.tensor(output)
    with torch.autocast("cpu", torch.bfloat16):
        loss: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    return loss


def save_prompt(model: PeftModel, folder: Path) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, naming the base by its served name."""
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = BASE_NAME
    if config.get("tokenizer_name_or_path"):
        config["tokenizer_name_or_path"] = BASE_NAME
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
