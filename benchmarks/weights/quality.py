"""Quality: a real model's perplexity and tokens, and the scores of the demo's soft prompts, by form of weights."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from fastapi.testclient import TestClient

from benchmarks.folders import REAL_MODEL, ROOT
from server.app import build_services, create_app
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.cpu.quantise_model import FORMS
from server.model.twin import make_twin
from server.settings import ServeSettings
from server.tokenizer.tokenizer import Tokenizer

_REVIEWS = [REAL_MODEL.parent / "reviews" / f"{part}.jsonl" for part in ("test", "train")]
_HELDOUT = ROOT / "tests" / "demo" / "heldout"
_NUM_TOKENS, _NUM_GENERATED, _NUM_PROMPT, _NUM_PROMPTS = 256, 32, 24, 12


@dataclass(frozen=True, slots=True)
class _Read:
    """What a model makes of the texts: the mean loss per token, its first choice at each, and its continuations."""

    loss: float
    choices: torch.Tensor
    continuations: list[list[int]]


def print_quality(num_texts: int, num_examples: int) -> None:
    """Two tables: the real model's texts, and the demo's tasks."""
    texts = list(_texts(num_texts))
    float32, *others = [_read(form, texts) for form in ("auto", *FORMS)]
    rounds = [list(zip(float32.continuations, other.continuations, strict=True)) for other in others]
    shared = [sum(_num_shared(a, b) for a, b in pairs) / len(pairs) for pairs in rounds]
    num_pairs = len(float32.continuations)
    heading = f"float32 | {' | '.join(FORMS)} |\n|---|" + "---:|" * (len(FORMS) + 1)
    print(f"| {REAL_MODEL.name}, {len(float32.choices):,} tokens of reviews | {heading}")
    _print_row("perplexity", [f"{math.exp(read.loss):.3f}" for read in (float32, *others)])
    same = [float((float32.choices == other.choices).float().mean()) for other in others]
    _print_row("first choice is float32's, token by token", ["", *(f"{share:.2%}" for share in same)])
    _print_row(
        f"tokens of {_NUM_GENERATED} until a greedy answer differs, mean of {num_pairs}",
        ["", *(f"{mean:.1f}" for mean in shared)],
    )
    never = [sum(a == b for a, b in pairs) for pairs in rounds]
    _print_row("greedy answers that never differ", ["", *(f"{number} of {num_pairs}" for number in never)])
    print(f"\n| the demo's tasks, {num_examples} held-out examples each: exact | {heading}")
    scores = [_scores(form, num_examples) for form in ("auto", *FORMS)]
    for task in scores[0]:
        _print_row(task, [f"{of_task[task]:.1%}" for of_task in scores])


def _print_row(name: str, cells: list[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |")


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


def _scores(form: str, num_examples: int) -> dict[str, float]:
    """The share of each task's examples that a server answers exactly, 16 at once."""
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {"weights": form, "data_dir": Path(folder), "threads": 1}
        services = build_services(ServeSettings(**given))
        with TestClient(create_app(services), base_url="http://localhost") as client, ThreadPoolExecutor(16) as pool:
            found = {}
            for file in sorted(_HELDOUT.glob("*.jsonl")):
                examples = [json.loads(line) for line in file.read_text().splitlines()[:num_examples]]
                answers = pool.map(partial(_answer, client, file.stem), [example["input"] for example in examples])
                right = [answer == example["output"] for answer, example in zip(answers, examples, strict=True)]
                found[file.stem] = sum(right) / len(right)
            return found


def _answer(client: TestClient, task: str, text: str) -> str:
    body = {"model": task, "prompt": text, "temperature": 0, "max_tokens": 24}
    return str(client.post("/v1/completions", json=body).raise_for_status().json()["choices"][0]["text"])
