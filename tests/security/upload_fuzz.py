"""Uploads that are nearly right, over HTTP: refused, and cheaply.

The long form, in minutes: `python -m tests.security.upload_fuzz` (100,000 Hypothesis cases).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import struct
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fakes.checkpoints import prompt_tuning_files

NUM_CASES = 100_000
NUM_CASES_A_ROUND = 200  # Hypothesis keeps every case of a round, and only what the server keeps is to be measured
GOOD = prompt_tuning_files()
MAX_REFUSAL_S = 0.1  # of this process, whatever else the machine does
MAX_GROWTH_MIB = 64

_numbers = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, 4, 2**31, 2**32, 2**53, 2**63 - 1, 2**64])
_json = st.recursive(
    st.none() | st.booleans() | _numbers | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_entry = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "F8_E4M3", "", "f32"]) | _json,
        "shape": st.lists(_numbers | st.integers(0, 16), max_size=4) | _json,
        "data_offsets": st.lists(_numbers | st.integers(0, 200), max_size=3) | _json,
    }
)
_header = st.dictionaries(st.sampled_from(["prompt_embeddings", "__metadata__", "x"]), _entry | _json, max_size=3)
_dumps = st.builds(lambda value: json.dumps(value).encode(), _header)


def _framed(header: bytes, length: int | None, data: bytes) -> bytes:
    return struct.pack("<Q", (len(header) if length is None else length) % 2**64) + header + data


_framed_tensors = st.builds(_framed, _dumps | st.binary(max_size=64), st.none() | _numbers, st.binary(max_size=160))


@st.composite
def _damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with bytes changed, cut out, or put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data)


def _configuration(changes: dict[str, object], removed: set[str]) -> bytes:
    config = {**json.loads(GOOD["adapter_config"]), **changes}
    return json.dumps({name: value for name, value in config.items() if name not in removed}).encode()


_config = st.builds(
    _configuration,
    st.dictionaries(
        st.sampled_from(["peft_type", "task_type", "num_virtual_tokens", "token_dim", "num_layers", "x"]),
        _json | st.sampled_from(["PREFIX_TUNING", "CPT", "MULTITASK_PROMPT_TUNING", "CARTRIDGE", "P_TUNING", "LORA"]),
        max_size=3,
    ),
    st.sets(st.sampled_from(["peft_type", "task_type", "num_virtual_tokens"]), max_size=1),
)
UPLOADS = st.tuples(
    _config | _damaged(GOOD["adapter_config"]) | st.binary(max_size=64),
    _framed_tensors | _damaged(GOOD["adapter_model"]) | st.binary(max_size=64),
    st.sampled_from(["{}", "", "null", '{"task_index": 1}', '{"template": "{input}"}', '{"labels": [1]}', "{" * 999]),
)


@dataclass
class Tally:
    """What became of the cases."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_refusal_s: float = 0.0

    def add(self, status: int, took_s: float) -> None:
        self.statuses[status] += 1
        if status >= 400:
            self.slowest_refusal_s = max(self.slowest_refusal_s, took_s)


def fuzz_uploads(app: object, num_cases: int, tally: Tally) -> None:
    """Send uploads to an application and count them; whatever is not accepted or refused with a 4xx fails."""
    loop = asyncio.new_event_loop()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")  # type: ignore[arg-type]

    @settings(
        max_examples=num_cases, deadline=None, database=None, phases=[Phase.generate], derandomize=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(upload=UPLOADS)
    def send(upload: tuple[bytes, bytes, str]) -> None:
        config, tensors, manifest = upload
        files = {"adapter_config": ("c", config), "adapter_model": ("m", tensors)}
        began = time.process_time()
        posting = client.post("/v1/tasks/fuzzed/versions", files=files, data={"manifest": manifest})
        response = loop.run_until_complete(posting)
        tally.add(response.status_code, time.process_time() - began)
        assert response.status_code in (200, 201) or 400 <= response.status_code < 500, response.text

    try:
        send()
    finally:
        loop.run_until_complete(client.aclose())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def memory_mib() -> float:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024**2


def figures(tally: Tally, before_mib: float, began: float) -> str:
    """What came of it so far, as JSON."""
    found = {
        "cases": tally.statuses.total(),
        "statuses": dict(tally.statuses),
        "slowest_refusal_ms": round(tally.slowest_refusal_s * 1000, 1),
        "memory_growth_mib": round(memory_mib() - before_mib, 1),
        "took_s": round(time.monotonic() - began),
    }
    return json.dumps(found)


def main() -> None:
    """Run the long form and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=NUM_CASES)
    arguments = parser.parse_args()
    from server.loading import keep_what_is_loaded
    from tests.security.application import application

    with tempfile.TemporaryDirectory() as folder, application(Path(folder)) as app:
        fuzz_uploads(app, 500, Tally())
        keep_what_is_loaded()
        tally, before_mib, began = Tally(), memory_mib(), time.monotonic()
        while (num_left := arguments.cases - tally.statuses.total()) > 0:
            fuzz_uploads(app, min(num_left, NUM_CASES_A_ROUND), tally)
            gc.collect()  # what Hypothesis leaves, so that no upload waits for that
            print(figures(tally, before_mib, began), flush=True)


if __name__ == "__main__":
    main()
