"""Uploads that are nearly right, and files that a coverage-guided fuzzer makes of right ones: refused, and cheaply.

The long form, in minutes: `python -m tests.security.upload_fuzz` (100,000 Hypothesis cases over HTTP), and with Atheris
(extra `fuzz`) `python -m tests.security.upload_fuzz atheris -runs=1000000`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from prompts_store.checkpoint_reader import read_checkpoint
from prompts_store.errors import InvalidCheckpoint
from tests.fakes.checkpoints import BASE, prompt_tuning_files

NUM_CASES = 100_000
GOOD = prompt_tuning_files()
MAX_REFUSAL_S = 0.1
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


_config = st.builds(
    lambda changes, removed: json.dumps(
        {
            name: value
            for name, value in {**json.loads(GOOD["adapter_config"]), **changes}.items()
            if name not in removed
        }
    ).encode(),
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


def fuzz_uploads(app: object, num_cases: int) -> Tally:
    """Send uploads to an application; whatever is not accepted or refused with a 4xx fails."""
    tally = Tally()
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
        began = time.perf_counter()
        posting = client.post("/v1/tasks/fuzzed/versions", files=files, data={"manifest": manifest})
        response = loop.run_until_complete(posting)
        tally.add(response.status_code, time.perf_counter() - began)
        assert response.status_code in (200, 201) or 400 <= response.status_code < 500, response.text

    try:
        send()
    finally:
        loop.run_until_complete(client.aclose())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return tally


def read_one(data: bytes) -> None:
    """Read what a fuzzer made as a checkpoint: the tensors behind a good configuration, or the configuration itself."""
    config, tensors = (GOOD["adapter_config"], data[1:]) if data[:1] < b"\x80" else (data[1:], GOOD["adapter_model"])
    try:
        read_checkpoint(config, tensors, BASE, task_index=None, allow_base_mismatch=False)
    except InvalidCheckpoint:
        pass


def corpus() -> list[bytes]:
    """Good files for a fuzzer to begin with."""
    return [b"\x00" + GOOD["adapter_model"], b"\xff" + GOOD["adapter_config"]]


def memory_mib() -> float:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024**2


def run_atheris(arguments: list[str]) -> None:
    """Fuzz the checkpoint reader by coverage, until the options of libFuzzer say so."""
    import atheris

    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(corpus()):
            (Path(folder) / str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], folder, *arguments], read_one)
        atheris.Fuzz()


def main() -> None:
    """Run one of the long forms."""
    if sys.argv[1:2] == ["atheris"]:
        run_atheris(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=NUM_CASES)
    arguments = parser.parse_args()
    from tests.security.application import application

    with tempfile.TemporaryDirectory() as folder, application(Path(folder)) as app:
        fuzz_uploads(app, 500)
        before_mib, began = memory_mib(), time.monotonic()
        tally = fuzz_uploads(app, arguments.cases)
        found = {
            "cases": sum(tally.statuses.values()),
            "statuses": dict(tally.statuses),
            "slowest_refusal_ms": round(tally.slowest_refusal_s * 1000, 1),
            "memory_growth_mib": round(memory_mib() - before_mib, 1),
            "took_s": round(time.monotonic() - began),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
