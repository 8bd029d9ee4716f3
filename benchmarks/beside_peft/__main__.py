"""This engine beside PEFT one by one: 32 requests over 8 tasks at once, on random weights.

    python -m benchmarks.beside_peft                                    all cases, one thread
    python -m benchmarks.beside_peft --only encoder-heads --rounds 3

In each round both sides answer the same requests: this engine all of them, PEFT one of each task, since it is as fast
with some as with all. Answers must be equal. With one thread, seconds are CPU seconds. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import warnings

import torch

from benchmarks.beside_peft.rounds import Clock, measure, table

CASES = ("encoder-decoder", "decoder-heads", "encoder-heads")


def main() -> None:
    """Measure the cases in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=CASES, default=CASES)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)  # a base model without a head is no surprise here
    torch.set_num_threads(options.threads)
    measured = []
    for name in options.only:
        case = importlib.import_module(f"benchmarks.beside_peft.{name.replace('-', '_')}")
        measured.append(measure(case.build(), options.rounds, Clock(options.threads)))
    print(table(measured))


if __name__ == "__main__":
    main()
