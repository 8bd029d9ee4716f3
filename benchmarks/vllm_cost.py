"""What a soft prompt costs in vLLM: `make bench-vllm`, or `.venv-vllm/bin/python -m benchmarks.vllm_cost [--rounds 5]`.

One thread, one process, rounds interleaved: our engine; vLLM with the connector; vLLM with the rows in each request as
`prompt_embeds`; vLLM with as many tokens of text before each text, the same ones for a task, from its prefix cache;
vLLM with the text alone. Tasks share a batch, and every text is new. The figure is generated tokens
per second of processor time, which neighbours on the machine disturb less than time by the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NUM_TASKS, NUM_REQUESTS, NUM_SEQS, NUM_TEXT, NUM_NEW = 8, 32, 16, 24, 16
SIZES = (16, 100)
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}

Way = tuple[str, int]
"""An engine, and the number of virtual tokens."""


def main() -> None:
    """Print a table of medians, and the two ratios that matter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="llama-135m")
    given = parser.parse_args()
    os.environ.update(_ENVIRONMENT)
    import torch

    from benchmarks.models import prepare

    torch.set_num_threads(1)
    model = prepare(given.model)
    vllm = _Vllm(model)
    with _own_engine(model) as own:
        ways: dict[Way, Callable[[], None]] = {("vllm, text alone", 0): vllm.text_alone}
        for size in SIZES:
            ways["own engine", size] = lambda size=size: own(size)  # type: ignore[misc]
            ways["vllm, connector", size] = lambda size=size: vllm.connector(size)  # type: ignore[misc]
            ways["vllm, prompt_embeds", size] = lambda size=size: vllm.embeds(size)  # type: ignore[misc]
            ways["vllm, cached text", size] = lambda size=size: vllm.cached_text(size)  # type: ignore[misc]
        found = _measure(ways, given.rounds)
    _report(found)


def _measure(ways: dict[Way, Callable[[], None]], rounds: int) -> dict[Way, list[float]]:
    """Tokens per second of processor time, by way; the first round warms up."""
    found: dict[Way, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, run in ways.items():
            began = time.process_time()
            run()
            if number:
                found[way].append(NUM_REQUESTS * NUM_NEW / (time.process_time() - began))
    return found


def _report(found: dict[Way, list[float]]) -> None:
    median = {way: statistics.median(values) for way, values in found.items()}
    for (name, size), values in found.items():
        spread = f"{min(values):.0f} to {max(values):.0f} ({len(values)})"
        print(f"{name:22} {size:4} virtual tokens {median[name, size]:7.0f} tokens per CPU second, {spread}")
    for size in SIZES:
        connector = found["vllm, connector", size]
        for other in (
            ("vllm, prompt_embeds", size),
            ("vllm, cached text", size),
            ("vllm, text alone", 0),
            ("own engine", size),
        ):
            ratios = sorted(mine / theirs for mine, theirs in zip(connector, found[other], strict=True))
            span = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            print(f"{size:3} virtual tokens: connector over {other[0]:20} {statistics.median(ratios):.2f}, {span}")


def _texts(vocab_size: int, draw: random.Random = random.Random(0)) -> list[list[int]]:  # noqa: B008  (one stream)
    """New texts, so that no cache has them."""
    return [[draw.randrange(3, vocab_size) for _ in range(NUM_TEXT)] for _ in range(NUM_REQUESTS)]


def _digest(task: int, size: int) -> str:
    return f"{task:032x}{size:032x}"


class _Vllm:
    """One engine in this process, with the connector. Soft prompts are captured once."""

    def __init__(self, model: Any) -> None:
        import torch
        from safetensors.torch import load_file
        from vllm import LLM

        from softprompt_vllm.requests import capture_inputs, new_capture_key, transfer_config

        key = new_capture_key()
        self._llm = LLM(
            model=model.folder,
            dtype="float32",
            skip_tokenizer_init=True,
            enforce_eager=True,
            block_size=32,
            max_num_seqs=NUM_SEQS,
            max_num_batched_tokens=512,
            max_model_len=512,
            kv_cache_memory_bytes=1 << 30,
            enable_prefix_caching=True,
            enable_prompt_embeds=True,
            disable_hybrid_kv_cache_manager=False,
            kv_transfer_config=transfer_config(capture_key=key),
        )
        torch.set_num_threads(1)
        self._table = load_file(Path(model.folder) / "model.safetensors")["model.embed_tokens.weight"]
        self._vocab_size = model.vocab_size
        self._rows = {
            (task, size): torch.randn(
                size, model.hidden_size, generator=torch.Generator().manual_seed(1000 * task + size)
            )
            * model.embedding_std
            for task in range(NUM_TASKS)
            for size in SIZES
        }
        self._run([capture_inputs(key, _digest(*name), rows) for name, rows in self._rows.items()])

    def text_alone(self) -> None:
        """Texts without a soft prompt."""
        from softprompt_vllm.requests import EngineInputs

        self._run([EngineInputs({"prompt_token_ids": text}, {}) for text in _texts(self._vocab_size)])

    def connector(self, size: int) -> None:
        """Texts behind captured soft prompts."""
        from softprompt_vllm.requests import use_inputs

        texts = _texts(self._vocab_size)
        self._run([use_inputs(_digest(n % NUM_TASKS, size), size, t, placeholder_id=0) for n, t in enumerate(texts)])

    def embeds(self, size: int) -> None:
        """Rows and texts as `prompt_embeds`."""
        import torch

        from softprompt_vllm.requests import EngineInputs

        texts = enumerate(_texts(self._vocab_size))
        whole = (torch.cat([self._rows[n % NUM_TASKS, size], self._table[text]]) for n, text in texts)
        self._run([EngineInputs({"prompt_embeds": rows}, {}) for rows in whole])

    def cached_text(self, size: int) -> None:
        """As `connector`, with tokens in place of virtual tokens: what any shared prefix of this length costs."""
        from softprompt_vllm.requests import EngineInputs

        shared = [
            random.Random(f"{task} {size}").choices(range(3, self._vocab_size), k=size) for task in range(NUM_TASKS)
        ]
        whole = (shared[n % NUM_TASKS] + text for n, text in enumerate(_texts(self._vocab_size)))
        self._run([EngineInputs({"prompt_token_ids": ids}, {}) for ids in whole])

    def _run(self, requests: list[Any]) -> None:
        from vllm import SamplingParams

        common = {"temperature": 0.0, "max_tokens": NUM_NEW, "ignore_eos": True, "detokenize": False}
        params = [SamplingParams(**(common | request.sampling)) for request in requests]
        self._llm.generate([request.prompt for request in requests], params, use_tqdm=False)


@contextmanager
def _own_engine(model: Any) -> Iterator[Callable[[int], None]]:
    """Our engine over the same folder, dtype and number of sequences: a function that runs one round."""
    import torch

    from benchmarks.contender import Setup
    from benchmarks.contenders.engine import EngineContender
    from server.engine.request import Generate, Request, SamplingParams
    from server.model.prefix import Prefix, PrefixKind

    contender = EngineContender(Setup("engine", model, threads=1, max_num_seqs=NUM_SEQS))
    sampling = SamplingParams(max_tokens=NUM_NEW, temperature=0.0, ignore_eos=True)
    prefixes = {
        (task, size): Prefix(
            _digest(task, size), PrefixKind.EMBEDDINGS, torch.randn(size, model.hidden_size) * model.embedding_std
        )
        for task in range(NUM_TASKS)
        for size in SIZES
    }
    ids = iter(range(1 << 30))

    async def ask(task: int, size: int, text: list[int]) -> None:
        request = Request(f"r{next(ids)}", f"t{task}", tuple(text), Generate(sampling), prefixes[task, size])
        async for _ in contender.engine.stream(request):
            pass

    async def run(size: int) -> None:
        texts = enumerate(_texts(model.vocab_size))
        await asyncio.gather(*(ask(number % NUM_TASKS, size, text) for number, text in texts))

    try:
        yield lambda size: contender.loop.run(run(size))
    finally:
        contender.close()


if __name__ == "__main__":
    main()
