"""One architecture compared with PEFT, in a process of its own: `python -m tests.vllm.compare NAME`.

One engine with a small KV cache. Every part asks all cases in one shuffled batch, with chunked prefill.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.vllm.engines import Case, Engine
from tests.vllm.worlds import World, make_world

NUM_BLOCKS = {"gemma3": 60}
_NUM_BLOCKS = 14


def main(architecture: str) -> None:
    """Print one JSON object: the exact and all cases of each part, preemptions, seconds, what PEFT refuses."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(architecture, Path(folder))
        made = time.perf_counter()
        found = _compare(world, NUM_BLOCKS.get(architecture, _NUM_BLOCKS))
    seconds = {"peft": round(made - began, 1), "vllm": round(time.perf_counter() - made, 1)}
    print(json.dumps({"architecture": architecture, "refused": world.refused, "seconds": seconds, **found}), flush=True)


def _compare(world: World, num_blocks: int) -> dict[str, object]:
    engine = Engine(world, num_gpu_blocks_override=num_blocks, max_num_seqs=8)
    num_preemptions = _count_preemptions(engine)
    cases = engine.cases()
    parts: dict[str, tuple[int, int]] = {}
    engine.capture(world.tasks)
    parts["mixed, cold"] = engine.num_exact(_shuffled(cases, 1))
    parts["mixed, twice, cached and preempted"] = engine.num_exact(_shuffled(cases * 2, 2))
    engine.llm.reset_prefix_cache()
    parts["after a reset of the prefix cache"] = engine.num_exact(_shuffled(cases, 3))
    assert engine.llm.reset_prefix_cache(reset_connector=True)
    engine.capture(world.tasks)
    parts["after a reset of the connector"] = engine.num_exact(_shuffled(cases, 4))
    return {
        "parts": parts,
        "num_preemptions": len(num_preemptions),
        "num_distinct": len({tuple(answer) for _, _, answer in cases}),
        "num_open": engine.half.residency.num_open,
    }


def _count_preemptions(engine: Engine) -> list[object]:
    found: list[object] = []
    preempt = engine.scheduler._preempt_request

    def counting(request, *rest, **named):
        found.append(request.request_id)
        return preempt(request, *rest, **named)

    engine.scheduler._preempt_request = counting
    return found


def _shuffled(cases: list[Case], seed: int) -> list[Case]:
    return random.Random(seed).sample(cases, len(cases))


if __name__ == "__main__":
    main(sys.argv[1])
