"""The parts of the benchmark on a GPU. Contenders have the device to themselves, one after the other."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import torch

from benchmarks.against_lower_bound import decode_step_seconds
from benchmarks.comparison import Entrant, compare
from benchmarks.gpu.bandwidth import decode_bytes, measure_bandwidth
from benchmarks.models import SHAPES
from benchmarks.records import Record
from benchmarks.session import Session

BANDWIDTH = "memory bandwidth GB/s"
PREFILL = "prefill tokens/s"
ENTRANTS = (
    Entrant("engine", "engine"),
    # As many tokens a step as the engine takes, and room for all requests.
    Entrant("transformers", "transformers", {"max_batch_tokens": 4096, "num_cached_tokens": 32_768}),
    Entrant("peft", "peft"),
)

_BANDWIDTH_BYTES = {"cuda": 1 << 30, "cpu": 1 << 26}
_PROMPT_TOKENS = 64
_PREFILL_REQUESTS = 8
_PREFILL_TOKENS = 512


def decode_measure(batch: int) -> str:
    """The name of the seconds that a decode step of so many sequences takes."""
    return f"decode step s, batch {batch}"


def measure_steps(session: Session, batches: Sequence[int]) -> Iterator[Record]:
    """Decode steps of each batch beside their limit, which is measured first, and prefill."""
    device = torch.device(session.settings["device"])
    bandwidth = measure_bandwidth(device, _BANDWIDTH_BYTES[device.type])
    if device.type == "cuda":
        # The engine takes what is free: nothing of a model that was built in this process may stay.
        gc.collect()
        torch.cuda.empty_cache()
    for subject, value in bandwidth.items():
        yield session.record(BANDWIDTH, subject, 0, value / 1e9)
    with session.start("engine", max_num_seqs=max(batches)) as engine:
        for number in session.rounds():
            for batch in batches:
                decode = session.workload(
                    2_000 + number,
                    num_requests=batch,
                    num_output=session.sizes.num_output,
                    prompt_lengths=(_PROMPT_TOKENS, _PROMPT_TOKENS),
                )
                context = decode.num_virtual_tokens + _PROMPT_TOKENS + session.sizes.num_output / 2
                limit = decode_bytes(SHAPES[session.model.name], batch, context) / max(bandwidth.values())
                yield session.record(decode_measure(batch), "limit", number, limit)
                yield session.record(decode_measure(batch), "engine", number, decode_step_seconds(engine.run(decode)))
            prefill = session.workload(
                3_000 + number,
                num_requests=_PREFILL_REQUESTS,
                num_output=1,
                prompt_lengths=(_PREFILL_TOKENS, _PREFILL_TOKENS),
            )
            seconds = engine.run(prefill).seconds
            yield session.record(PREFILL, "engine", number, _PREFILL_REQUESTS * _PREFILL_TOKENS / seconds)


def measure_contenders(session: Session) -> Iterator[Record]:
    """Throughput of the engine and of the others, each started when the one before has given the device back."""
    for entrant in ENTRANTS:
        yield from compare([entrant], session)
