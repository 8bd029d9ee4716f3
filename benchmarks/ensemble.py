"""Whether an ensemble of soft prompts answers better than one of them, and what it costs.

    python -m benchmarks.ensemble FOLDER           tune what is missing in FOLDER, then measure through a live server
    python -m benchmarks.ensemble FOLDER --tune    tune only

The members are soft prompts of one demo task on the same examples, which differ in their seed alone (Lester et al.
2021, section 6). Prints a Markdown table: held-out accuracy of each and of the ensemble, by label and by text.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import PreTrainedTokenizerFast

from demo.catalog import TASKS, DemoTask, draw
from demo.data.example import Example, Split
from demo.prompt_tuning import TuningRecipe, load_base, save_prompt, tune, with_prompt
from server.demo import BASE_DIR, TEMPLATE
from tests.system.live_server import live_server, publish

NUM_EXAMPLES = 1_000
NUM_STEPS = 300
NUM_HELDOUT = 1_000
NUM_AT_ONCE = 8
NUM_TIMED = 60


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Accuracies are shares of the held-out examples, latencies medians in milliseconds."""

    name: str
    by_label: float
    by_text: float
    classify_ms: float
    completion_ms: float
    num_tokens: float


def main() -> None:
    """Tune, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", default="triage")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tune", action="store_true", help="do not measure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = replace(next(task for task in TASKS if task.name == options.task), num_steps=NUM_STEPS)
    for seed in range(1, options.seeds + 1):
        if not (options.folder / str(seed) / "adapter_model.safetensors").exists():
            tune_seed(task, seed, options.folder / str(seed))
    if not options.tune:
        print_table(list(measure(task, options.folder, options.seeds)))


def tune_seed(task: DemoTask, seed: int, folder: Path) -> None:
    """Tune one member. All members see the same examples, in an order of their own."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(BASE_DIR)
    torch.manual_seed(seed)
    model = with_prompt(load_base(BASE_DIR), tokenizer, task, BASE_DIR)
    examples = draw(task, Split.TRAIN, NUM_EXAMPLES, 1, frozenset())
    began = time.monotonic()
    tune(model, tokenizer, task, examples, seed, TuningRecipe(num_examples=NUM_EXAMPLES))
    save_prompt(model, folder)
    print(f"seed {seed}: {time.monotonic() - began:.0f} s", flush=True)


def measure(task: DemoTask, folder: Path, num_seeds: int) -> Iterator[Row]:
    """Serve the members and their ensemble, and ask each about every held-out example."""
    assert task.labels is not None
    defaults = {"max_tokens": task.max_tokens, "temperature": 0}
    manifest = {
        "template": TEMPLATE,
        "add_special_tokens": False,
        "labels": list(task.labels),
        "defaults": defaults,
    }
    examples = draw(task, Split.TEST, NUM_HELDOUT, 1, frozenset())
    with (
        live_server(data_dir=folder / "data", device="cpu") as server,
        httpx.Client(base_url=server.url, timeout=300) as client,
    ):
        numbers = []
        for seed in range(1, num_seeds + 1):
            files = {
                "adapter_config": (folder / str(seed) / "adapter_config.json").read_bytes(),
                "adapter_model": (folder / str(seed) / "adapter_model.safetensors").read_bytes(),
            }
            numbers.append(publish(client, "seeds", files, manifest=manifest)["version"])
        parts = {"members": (None, json.dumps(numbers))}
        ensemble = client.post("/v1/tasks/seeds/versions", files=parts).raise_for_status().json()["version"]
        for name, number in (*((f"seed {number}", number) for number in numbers), ("ensemble", ensemble)):
            yield ask(client, name, f"seeds@{number}", examples)


def ask(client: httpx.Client, name: str, model: str, examples: list[Example]) -> Row:
    """Ask one version about every example, several at once; then a few one by one, for the latencies."""
    labels: list[str] = []
    texts: list[str] = []
    num_tokens = 0
    for first in range(0, len(examples), NUM_AT_ONCE):
        inputs = [example.input for example in examples[first : first + NUM_AT_ONCE]]
        classified = post(client, "/v1/classify", {"model": model, "input": inputs})
        labels += [one["label"] for one in classified["data"]]
        completed = post(client, "/v1/completions", {"model": model, "prompt": inputs})
        texts += [choice["text"] for choice in completed["choices"]]
        num_tokens += completed["usage"]["total_tokens"]
    expected = [example.output for example in examples]
    return Row(
        name=name,
        by_label=share_equal(labels, expected),
        by_text=share_equal(texts, expected),
        classify_ms=latency_ms(client, "/v1/classify", model, "input", examples),
        completion_ms=latency_ms(client, "/v1/completions", model, "prompt", examples),
        num_tokens=num_tokens / len(examples),
    )


def latency_ms(client: httpx.Client, path: str, model: str, field: str, examples: list[Example]) -> float:
    """Return the median time of a request of one input, one at a time."""
    times = []
    for example in examples[:NUM_TIMED]:
        began = time.perf_counter()
        post(client, path, {"model": model, field: example.input})
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request; return the body of its answer."""
    answer: dict[str, Any] = client.post(path, json=body).raise_for_status().json()
    return answer


def share_equal(found: list[str], expected: list[str]) -> float:
    """Return the share of answers that are as expected, to the letter."""
    return sum(one == other for one, other in zip(found, expected, strict=True)) / len(expected)


def print_table(rows: list[Row]) -> None:
    """Print every member, their mean, their best, and the ensemble."""
    members = rows[:-1]
    means = [statistics.mean(getattr(row, field) for row in members) for field in Row.__slots__ if field != "name"]
    best = max(members, key=lambda row: row.by_label)
    print("| | accuracy by label | by text | ms a classification | ms a completion | tokens a completion |")
    print("|---|---|---|---|---|---|")
    for row in (*members, Row("mean", *means), replace(best, name=f"best ({best.name})"), rows[-1]):
        print(
            f"| {row.name} | {row.by_label:.3f} | {row.by_text:.3f} | {row.classify_ms:.1f} "
            f"| {row.completion_ms:.1f} | {row.num_tokens:.1f} |"
        )


if __name__ == "__main__":
    main()
