"""The committed demo model does what its manifests say.

Plain ``transformers`` with the prompt's tensors put in by hand, one request at a time, unpadded, greedy: a second way
to the answers, beside PEFT's that the figures were made with.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from demo.catalog import TASKS, DemoTask
from demo.data.example import Example
from demo.example_files import read_examples
from server.demo import BASE_DIR, BASE_NAME, TASKS_DIR, TEMPLATE

HERE = Path(__file__).parent
NUM_HELDOUT = 24
MAX_TOTAL_BYTES = 12_000_000


@cache
def _base() -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(BASE_DIR)
    return AutoModelForCausalLM.from_pretrained(BASE_DIR, dtype=torch.float32).eval(), tokenizer


def _manifest(task: DemoTask) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((TASKS_DIR / task.name / "manifest.json").read_text())
    return manifest


@torch.no_grad()
def _answer(task: DemoTask, text: str, *, with_prompt: bool) -> str:
    """The greedy answer to one input."""
    model, tokenizer = _base()
    ids = torch.tensor([tokenizer(TEMPLATE.replace("{input}", text))["input_ids"]])
    embeddings, cache = model.get_input_embeddings()(ids), DynamicCache()
    if with_prompt:
        prompt = load_file(TASKS_DIR / task.name / "adapter_model.safetensors")["prompt_embeddings"]
        if task.peft_type == "PREFIX_TUNING":
            cache = _prefix_cache(prompt, model.config)
        else:
            embeddings = torch.cat([prompt[None], embeddings], dim=1)
    answer: list[int] = []
    for _ in range(task.max_tokens):
        output = model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
        token = int(output.logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        answer.append(token)
        embeddings = model.get_input_embeddings()(torch.tensor([[token]]))
    return str(tokenizer.decode(answer))


def _prefix_cache(prompt: torch.Tensor, config: Any) -> DynamicCache:
    """``prompt`` is ``[num_virtual_tokens, num_layers * 2 * hidden_size]``: keys, values, layer by layer."""
    heads, size = config.num_key_value_heads, config.head_dim
    parts = prompt.view(len(prompt), config.num_hidden_layers * 2, heads, size).permute(1, 2, 0, 3)[:, None]
    cache = DynamicCache()
    for layer in range(config.num_hidden_layers):
        cache.update(parts[2 * layer], parts[2 * layer + 1], layer)
    return cache


def _score(task: DemoTask, examples: list[Example], *, with_prompt: bool = True) -> float:
    hits = sum(_answer(task, example.input, with_prompt=with_prompt) == example.output for example in examples)
    return hits / len(examples)


def test_files_are_present_and_small() -> None:
    """Base, tokenizer and every task together stay below 12 MB, and nothing else lies beside them."""
    base_files = {path.name for path in BASE_DIR.iterdir()}
    assert base_files == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {path.name for path in TASKS_DIR.iterdir()} == {task.name for task in TASKS}
    for task in TASKS:
        names = {path.name for path in (TASKS_DIR / task.name).iterdir()}
        assert names == {"adapter_config.json", "adapter_model.safetensors", "manifest.json"}
    files = [path for folder in (BASE_DIR, TASKS_DIR) for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_TOTAL_BYTES


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_checkpoints_name_the_base_by_its_served_name(task: DemoTask) -> None:
    """No folder of the machine that trained them, ready for inference, the size that the catalogue says."""
    text = (TASKS_DIR / task.name / "adapter_config.json").read_text()
    config = json.loads(text)
    assert config["base_model_name_or_path"] == BASE_NAME
    assert config["inference_mode"] is True
    assert (config["peft_type"], config["num_virtual_tokens"]) == (task.peft_type, task.num_virtual_tokens)
    assert "/" not in text
    assert _manifest(task)["template"] == TEMPLATE


def test_tokenizer_adds_nothing_and_joins_cleanly() -> None:
    """No special token is added, and prompt and output tokenize alone as they do together."""
    _, tokenizer = _base()
    for task in TASKS:
        for example in read_examples(HERE / "heldout" / f"{task.name}.jsonl"):
            prompt = TEMPLATE.replace("{input}", example.input)
            ids = tokenizer(prompt, add_special_tokens=True)["input_ids"]
            assert ids == tokenizer(prompt, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids) == prompt
            assert ids + tokenizer(example.output)["input_ids"] == tokenizer(prompt + example.output)["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_handwritten_accuracy_is_the_recorded_one(task: DemoTask) -> None:
    """All twenty hand-written inputs give exactly the recorded score."""
    examples = read_examples(HERE / "handwritten" / f"{task.name}.jsonl")
    assert _score(task, examples) == pytest.approx(_manifest(task)["metrics"]["handwritten_exact_match"])


@pytest.mark.slow
@pytest.mark.parametrize("task", [t for t in TASKS if t.name != "number-words"], ids=lambda task: task.name)
def test_later_handwritten_accuracy_is_the_recorded_one(task: DemoTask) -> None:
    """The second hand-written list, written after the generators were frozen, gives exactly the recorded score too."""
    examples = read_examples(HERE / "handwritten_later" / f"{task.name}.jsonl")
    assert _score(task, examples) == pytest.approx(_manifest(task)["metrics"]["later_exact_match"])


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_heldout_accuracy_agrees_with_the_recorded_one(task: DemoTask) -> None:
    """The first held-out inputs score what the record makes likely (three standard errors below it at least)."""
    recorded = _manifest(task)["metrics"]["heldout_exact_match"]
    examples = read_examples(HERE / "heldout" / f"{task.name}.jsonl")[:NUM_HELDOUT]
    spread = 3 * (max(recorded * (1 - recorded), 0.01) / NUM_HELDOUT) ** 0.5
    assert _score(task, examples) >= recorded - spread


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_bare_base_does_not_do_the_task(task: DemoTask) -> None:
    """Without soft prompt the same inputs fail: the prompt is what elicits the task."""
    assert _manifest(task)["metrics"]["base_exact_match"] < 0.1
    examples = read_examples(HERE / "heldout" / f"{task.name}.jsonl")[:8]
    assert _score(task, examples, with_prompt=False) <= 1 / 8
