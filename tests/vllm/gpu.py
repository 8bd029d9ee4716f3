"""Captures on a GPU against the engine's own `prompt_embeds`: `python -m tests.vllm.gpu DTYPE [--anywhere]`.

64 soft prompts, each asked alone and all in one batch, with vLLM's compilation and CUDA graphs. They are compared with
the rows and the text as `prompt_embeds`, alone. How far `prompt_embeds` in a batch come from that is the engine's own
rounding, which is the measure.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from softprompt_vllm.requests import EngineInputs
from tests.vllm.engines import Engine, ask
from tests.vllm.worlds import Task, digest_of, make_world

NUM_TASKS = 64
SIZES = (5, 16, 33, 100)
_SAMPLING = {"max_tokens": 16, "logprobs": 20}
_MAX_RATIO = 4  # of the engine's own rounding, as in the server's proof at start (docs/decisions/0024)

Answer = tuple[list[int], dict[int, float]]
"""Greedy tokens, and the log probabilities of the likeliest first tokens by id."""


def main(dtype_name: str, *flags: str) -> None:
    """Print one JSON object. Exits with 1 where captures differ from `prompt_embeds` by more than rounding."""
    if not torch.cuda.is_available() and "--anywhere" not in flags:
        print("no GPU here: nothing was run")
        return
    dtype = getattr(torch, dtype_name)
    with tempfile.TemporaryDirectory() as folder:
        world = make_world("llama", Path(folder), ("prompt",))
        engine = Engine(world, dtype=dtype_name, enforce_eager=False, max_num_seqs=NUM_TASKS)
        table = load_file(world.model / "model.safetensors")["model.embed_tokens.weight"].to(dtype)
    tasks, text = _tasks(dtype, float(table.float().std())), world.texts[0]
    engine.capture(tasks)
    sampling = ask(None, text, **_SAMPLING).sampling
    whole = [EngineInputs({"prompt_embeds": torch.cat([task.rows, table[text]])}, sampling) for task in tasks]
    behind = [ask(task, text, **_SAMPLING) for task in tasks]
    expected = [_answers(engine, [one])[0] for one in whole]
    found = {
        "embeds, mixed": _answers(engine, whole),
        "captured, alone": [_answers(engine, [one])[0] for one in behind],
        "captured, mixed": _answers(engine, behind),
    }
    result = {name: _compare(answers, expected) for name, answers in found.items()}
    num_distinct = len({tuple(tokens) for tokens, _ in expected})
    print(json.dumps({"dtype": dtype_name, "device": engine.worker._device.type, "distinct": num_distinct, **result}))
    own = max(result["embeds, mixed"][1], torch.finfo(dtype).eps)
    sys.exit(any(median > _MAX_RATIO * own for _, median, _ in result.values()))


def _tasks(dtype: torch.dtype, scale: float) -> list[Task]:
    generator = torch.Generator().manual_seed(1)
    sizes = [SIZES[number % len(SIZES)] for number in range(NUM_TASKS)]
    rows = [(torch.randn(size, 128, generator=generator) * scale).to(dtype) for size in sizes]
    return [Task("", digest_of("gpu", number), len(one), one, []) for number, one in enumerate(rows)]


def _answers(engine: Engine, requests: Sequence[EngineInputs]) -> list[Answer]:
    outputs = [output.outputs[0] for output in engine.run(requests)]
    return [(list(one.token_ids), {token: p.logprob for token, p in one.logprobs[0].items()}) for one in outputs]


def _compare(answers: Sequence[Answer], expected: Sequence[Answer]) -> tuple[int, float, float]:
    """Exact sequences, and the median and largest difference of a first token's log probability."""
    pairs = list(zip(answers, expected, strict=True))
    worst = [max(abs(a[1][token] - b[1][token]) for token in a[1].keys() & b[1].keys()) for a, b in pairs]
    return sum(a[0] == b[0] for a, b in pairs), statistics.median(worst), max(worst)


if __name__ == "__main__":
    main(*sys.argv[1:])
