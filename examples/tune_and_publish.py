"""Tune a soft prompt with PEFT on the demo's base model, and publish it on a running server.

Run it beside `make serve` (about a minute):

    .venv/bin/python examples/tune_and_publish.py examples/verdict.jsonl verdict
    .venv/bin/softprompt generate verdict "The sound is crisp and the battery lasts"

The file has one {"input": …, "output": …} a line. For another base model, change BASE, BASE_NAME and TEMPLATE.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PromptTuningConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from server.demo import BASE_DIR as BASE
from server.demo import BASE_NAME

TEMPLATE = " {input} ->\n"
NUM_STEPS, BATCH_SIZE, LEARNING_RATE = 60, 16, 0.3


def main(file: Path, task: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the model is so small that threads would only wait for each other
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    model = get_peft_model(base, PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=12))
    examples = [json.loads(line) for line in file.read_text().splitlines()]
    tune(model, [encode(tokenizer, example["input"], example["output"]) for example in examples])
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        publish(Path(folder), task, labels=sorted({example["output"] for example in examples}))


def encode(tokenizer: PreTrainedTokenizerBase, text: str, output: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids `[1, num_tokens]` of prompt and output, and the labels: -100 where nothing is to be learnt."""
    prompt = tokenizer(TEMPLATE.replace("{input}", text), add_special_tokens=False)["input_ids"]
    target = [*tokenizer(output, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return torch.tensor([prompt + target]), torch.tensor([[-100] * len(prompt) + target])


def tune(model: torch.nn.Module, rows: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """One row at a time, so that nothing is padded; the gradients of a batch add up."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0)
    for step in range(NUM_STEPS):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / NUM_STEPS)
        batch = random.Random(step).sample(rows, BATCH_SIZE)
        losses = [model(input_ids=ids, labels=labels).loss / BATCH_SIZE for ids, labels in batch]
        sum(losses).backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"\rstep {step + 1}/{NUM_STEPS}  loss {sum(loss.item() for loss in losses):.3f}", end="", flush=True)
    print()


def publish(folder: Path, task: str, labels: list[str]) -> None:
    """Hand the folder to the command line, with what else an answer needs."""
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = BASE_NAME  # PEFT wrote the folder it was loaded from
    (folder / "adapter_config.json").write_text(json.dumps(config))
    manifest = {
        "template": TEMPLATE,
        "add_special_tokens": False,
        "labels": labels,
        "defaults": {"temperature": 0, "max_tokens": 8},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    softprompt = Path(sys.executable).with_name("softprompt")
    sys.exit(subprocess.run([softprompt, "task", "publish", folder, "--task", task, "--promote"]).returncode)


main(Path(sys.argv[1]), sys.argv[2])
