"""How the store's times grow with the number of tasks, of three versions each.

    python -m benchmarks.store_growth                          SQLite, in a temporary folder
    python -m benchmarks.store_growth --url postgresql://…     an empty PostgreSQL database
    python -m benchmarks.store_growth --plot growth.png        a plot beside the table; needs matplotlib

Prints a Markdown table. Each figure is the median of many calls, one at a time; publish is the mean of all of a step.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.safetensors_format import write_tensors
from prompts_store.checkpoint_records import BaseModel, StoredTensor
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.store import Store

SIZES = (10, 100, 1_000, 10_000)
NUM_VERSIONS = 3
NUM_VIRTUAL_TOKENS = 20
HIDDEN_SIZE = 64
NUM_CALLS = 300
PAGE = 100
BASE = BaseModel("b" * 64, ("base",), HIDDEN_SIZE, 2, 2, 16, 1024, "float32")
CONFIG = b'{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": %d}' % NUM_VIRTUAL_TOKENS


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds at one size. `resolve` is of bare task names, `list_page` of a page of 100 tasks anywhere."""

    num_tasks: int
    publish: float
    open: float
    resolve: float
    resolve_p99: float
    load: float
    list_page: float
    revision: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an empty database; a SQLite file in a temporary folder if left out")
    parser.add_argument("--max-tasks", type=int, default=SIZES[-1])
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    sizes = [size for size in SIZES if size <= options.max_tasks]
    with tempfile.TemporaryDirectory() as folder:
        table = list(grow(options.url or f"{folder}/store.db", sizes))
    print_table(table)
    if options.plot is not None:
        plot(table, options.plot)


def grow(url: str, sizes: list[int]) -> Iterator[Times]:
    """Fill a store step by step and measure it at each size."""
    Store.open(url, migrate=True).close()
    num_tasks = 0
    for size in sizes:
        began = time.perf_counter()
        with Store.open(url) as store:
            for number in range(num_tasks, size):
                publish_task(store, number)
        publish_ms = (time.perf_counter() - began) * 1e3 / (NUM_VERSIONS * (size - num_tasks))
        num_tasks = size
        yield measure(url, size, publish_ms)


def publish_task(store: Store, number: int) -> None:
    """Publish the versions of one task; the last one is production."""
    for version in range(NUM_VERSIONS):
        values = np.random.default_rng(NUM_VERSIONS * number + version).standard_normal(
            (NUM_VIRTUAL_TOKENS, HIDDEN_SIZE), dtype=np.float32
        )
        checkpoint = read_checkpoint(
            CONFIG,
            write_tensors([StoredTensor("prompt_embeddings", "F32", values)]),
            BASE,
            task_index=None,
            allow_base_mismatch=False,
            max_tensor_bytes=store.max_tensor_bytes,
        )
        store.publish(name(number), checkpoint, Manifest(template="{input}"), promote=True)


def measure(url: str, num_tasks: int, publish_ms: float) -> Times:
    """Time the calls that a server makes."""
    choice = random.Random(num_tasks)
    names = [name(choice.randrange(num_tasks)) for _ in range(NUM_CALLS)]
    opening = milliseconds([lambda: Store.open(url).close()] * 10)
    with Store.open(url) as store:
        references = [TaskReference.parse(each) for each in names]
        resolve = milliseconds([partial(store.resolve, BASE.fingerprint, each) for each in references])
        load = milliseconds([partial(store.load_content, BASE.fingerprint, each, 2) for each in names])
        pages = milliseconds([partial(store.list_tasks, BASE.fingerprint, after=each, limit=PAGE) for each in names])
        revision = milliseconds([store.revision] * NUM_CALLS)
    median = statistics.median
    p99 = sorted(resolve)[int(0.99 * len(resolve))]
    return Times(
        num_tasks, publish_ms, median(opening), median(resolve), p99, median(load), median(pages), median(revision)
    )


def name(number: int) -> str:
    """Return a task's name; neighbours in time are not neighbours in the alphabet."""
    return f"task-{number * 7919 % 99_991:05d}"


def milliseconds(calls: list[Callable[[], object]]) -> list[float]:
    """Return how long each call took."""
    taken = []
    for call in calls:
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


def print_table(table: list[Times]) -> None:
    """Print a Markdown table."""
    headings = ["tasks", *(field.name.replace("_", " ") + " ms" for field in fields(Times)[1:])]
    print("| " + " | ".join(headings) + " |")
    print("|" + "---:|" * len(headings))
    for row in table:
        num_tasks, *times = astuple(row)
        print(f"| {num_tasks:,} | " + " | ".join(f"{each:.2f}" for each in times) + " |")


def plot(table: list[Times], path: Path) -> None:
    """Draw every column over the number of tasks, on two logarithmic axes."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("A plot needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    sizes = [row.num_tasks for row in table]
    for field in fields(Times)[1:]:
        times = [getattr(row, field.name) for row in table]
        axes.loglog(sizes, times, marker="o", label=field.name.replace("_", " "))
    axes.set(xlabel=f"tasks, {NUM_VERSIONS} versions each", ylabel="milliseconds a call", ylim=(0.01, None))
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(ncols=2)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
