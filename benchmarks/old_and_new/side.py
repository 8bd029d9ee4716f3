"""One commit's process: it loads the base models once, then serves or tunes whenever it is asked.

The first line of standard input names the base models, each further line a base model and a kind of work. The answer to
each is one line. Uses only what the commits to compare have in common: it is run with another checkout's packages.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from typing import Any

import torch

from benchmarks.contender import Setup
from benchmarks.contenders.engine import EngineContender
from benchmarks.models import BenchModel
from benchmarks.workload import make_workload
from prompts_store.manifest import Manifest
from server.demo import BASE_DIR
from server.model.base_model import BaseModelOptions, load_base_model
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.examples import read_examples
from server.tuning.job import TuningJob
from server.tuning.plan import Method, TuningPlan
from server.tuning.run import TuningRun
from server.tuning.split import tuning_data

NUM_SEQUENCES, NUM_OUTPUT = 32, 16
NUM_STEPS, BATCH_SIZE, NUM_TOKENS = 4, 8, 48


class Side:
    """Both kinds of work on one base model. Tuning has weights of its own, which no engine's thread touches."""

    def __init__(self, model: BenchModel) -> None:
        self._model = model
        self._engine = EngineContender(Setup("engine", model))
        loaded = load_base_model(BaseModelOptions(model.folder, device="cpu", dtype="float32"))
        tokenizer = Tokenizer.load(str(BASE_DIR))
        self._run = TuningRun(loaded, tokenizer, _job(tokenizer))

    def serve(self, seed: int) -> None:
        """Answer one request per sequence, over eight tasks."""
        vocab_size = self._model.vocab_size
        self._engine.run(make_workload(vocab_size, seed=seed, num_requests=NUM_SEQUENCES, num_output=NUM_OUTPUT))

    def tune(self, _: int) -> None:
        """Do some steps of the optimiser."""
        end = self._run.step + NUM_STEPS
        while self._run.step < end:
            self._run.advance()


def main() -> None:
    """Answer CPU seconds and wall seconds until standard input ends."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between the answers
    sides: dict[str, Side] = {}
    for line in sys.stdin:
        message: Any = json.loads(line)
        if not sides:
            sides = {each["name"]: Side(BenchModel(**each)) for each in message}
            answers.write("{}\n")
            continue
        name, kind, seed = message
        work = getattr(sides[name], kind)
        began, cpu_began = time.perf_counter(), time.process_time()
        work(seed)
        cpu_s, wall_s = time.process_time() - cpu_began, time.perf_counter() - began
        answers.write(json.dumps({"cpu_s": cpu_s, "wall_s": wall_s}) + "\n")


def _job(tokenizer: Tokenizer) -> TuningJob:
    """Digits: each is a token of the demo's tokenizer. All examples are equally long."""
    rng = random.Random(0)
    rows = [
        {
            "prompt": "".join(rng.choices("0123456789", k=NUM_TOKENS)),
            "completion": "".join(rng.choices("0123456789", k=8)),
        }
        for _ in range(40)
    ]
    data = tuning_data(read_examples("\n".join(map(json.dumps, rows)).encode()))
    plan = TuningPlan(
        method=Method.PROMPT_TUNING,
        num_steps=5_000,
        batch_size=BATCH_SIZE,
        learning_rate=1e-4,
        max_micro_batch_tokens=512,
        validate_every=5_000,
        patience=None,
    )
    end = tokenizer.eos_token_id
    assert end is not None
    return TuningJob(plan, data, Manifest(template="{input}\n", add_special_tokens=False), "base", end)


if __name__ == "__main__":
    main()
