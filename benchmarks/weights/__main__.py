"""Weights of fewer bits beside float32: `python -m benchmarks.weights quality` or `speed`. Prints Markdown tables."""

from __future__ import annotations

import argparse

import torch

from benchmarks.models import LLAMA_135M
from benchmarks.weights.quality import print_quality
from benchmarks.weights.speed import print_speed
from server.model.cpu.int8_weight import KIND, KIND_NAMES
from server.model.cpu.widened_weight import LANES, LANES_NAMES


def main() -> None:
    """Measure and print one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["quality", "speed"])
    parser.add_argument("--rounds", type=int, default=6, help="pairs of the speed")
    parser.add_argument("--model", default=LLAMA_135M, help="base model of the speed")
    parser.add_argument("--texts", type=int, default=50, help="texts of 256 tokens of the perplexity")
    parser.add_argument("--examples", type=int, default=200, help="examples of each of the demo's tasks")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"int8 products by {KIND_NAMES[KIND]}, widened ones by {LANES_NAMES[LANES]}; one thread\n")
    if given.what == "quality":
        print_quality(given.texts, given.examples)
    else:
        print_speed(given.model, given.rounds)


if __name__ == "__main__":
    main()
