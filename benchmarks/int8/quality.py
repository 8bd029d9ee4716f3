"""Quality: a real model's perplexity and tokens, and the scores of the demo's soft prompts, with float32 and int8."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.folders import REAL_MODEL, ROOT
from server.demo import TASKS_DIR
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.twin import make_twin
from server.tokenizer.tokenizer import Tokenizer

_REVIEWS = [REAL_MODEL.parent / "reviews" / f"{part}.jsonl" for part in ("test", "train")]
_HELDOUT = ROOT / "tests" / "demo" / "heldout"
_FORMS = ("auto", "int8")
_NUM_TOKENS, _NUM_GENERATED, _NUM_PROMPT, _NUM_PROMPTS = 256, 48, 24, 25


@dataclass(frozen=True, slots=True)
class _Read:
    """What a model makes of the texts: the mean loss per token, its first choice at each, and its continuations."""

    loss: float
    choices: torch.Tensor
    continuations: list[list[int]]


def print_quality(num_texts: int) -> None:
    """Two tables: the real model's texts, and the demo's tasks."""
    texts = list(_texts(num_texts))
    float32, int8 = (_read(form, texts) for form in _FORMS)
    same = float((float32.choices == int8.choices).float().mean())
    pairs = list(zip(float32.continuations, int8.continuations, strict=True))
    shared = sum(_num_shared(a, b) for a, b in pairs) / len(pairs)
    print(f"| {REAL_MODEL.name}, {len(float32.choices):,} tokens of reviews | float32 | int8 |\n|---|---:|---:|")
    print(f"| perplexity | {math.exp(float32.loss):.3f} | {math.exp(int8.loss):.3f} |")
    print(f"| first choice is float32's, token by token | | {same:.1%} |")
    print(f"| tokens of {_NUM_GENERATED} until a greedy answer differs, mean of {len(pairs)} | | {shared:.1f} |")
    print(f"| greedy answers that never differ | | {sum(a == b for a, b in pairs)} of {len(pairs)} |\n")
    print("| the demo's tasks, 200 held-out examples each | float32 | int8 |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for task in sorted(path.name for path in TASKS_DIR.iterdir() if (_HELDOUT / f"{path.name}.jsonl").exists()):
            scores = [_score(task, form, Path(folder)) for form in _FORMS]
            print(f"| {task}: exact match | " + " | ".join(f"{score:.1%}" for score in scores) + " |", flush=True)


def _texts(count: int) -> Iterator[tuple[int, ...]]:
    """At most `count` pieces of 256 tokens of all reviews, one after the other."""
    lines = [line for file in _REVIEWS for line in file.read_text().splitlines()]
    reviews = "\n".join(json.loads(line)["text"] for line in lines)
    ids = Tokenizer.load(str(REAL_MODEL)).encode(reviews)
    for start in range(0, min(len(ids), count * _NUM_TOKENS) - _NUM_TOKENS + 1, _NUM_TOKENS):
        yield ids[start : start + _NUM_TOKENS]


@torch.inference_mode()
def _read(form: str, texts: list[tuple[int, ...]]) -> _Read:
    loaded = load_base_model(BaseModelOptions(str(REAL_MODEL), device="cpu", weights=form))
    stock: Any = make_twin(loaded.model)
    losses, choices = [], []
    for text in texts:
        ids = torch.tensor(text)
        logits = stock(input_ids=ids[None], use_cache=False).logits[0, :-1]
        losses.append(F.cross_entropy(logits, ids[1:], reduction="none"))
        choices.append(logits.argmax(1))
    continuations = [
        stock.generate(
            torch.tensor([text[:_NUM_PROMPT]]), max_new_tokens=_NUM_GENERATED, do_sample=False, eos_token_id=None
        )[0, _NUM_PROMPT:].tolist()
        for text in texts[:_NUM_PROMPTS]
    ]
    return _Read(float(torch.cat(losses).mean()), torch.cat(choices), continuations)


def _num_shared(first: list[int], second: list[int]) -> int:
    return next((index for index, (a, b) in enumerate(zip(first, second, strict=True)) if a != b), len(first))


def _score(task: str, form: str, folder: Path) -> float:
    """The share of examples that `softprompt evaluate` finds answered exactly."""
    examples = folder / f"{task}.jsonl"
    with (_HELDOUT / examples.name).open() as lines, examples.open("w") as file:
        for line in map(json.loads, lines):
            file.write(json.dumps({"prompt": line["input"], "completion": line["output"]}) + "\n")
    command = [sys.executable, "-m", "server.cli", "evaluate", task, str(examples), "--weights", form, "--no-base"]
    command += ["--data-dir", str(folder), "--threads", "1", "--json"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return float(json.loads(answer)[0]["exact_match"])
