"""The long form: random schemas and regular expressions, then hostile ones, against one server.

    python -m tests.structured_outputs.long --schemas 500 --regexes 50 --hostile 10000

A fresh server of the demo model (or `--base-model`) answers; with `--engine vllm`, in the virtual environment of vLLM.
Every answer that ends with `stop` must fit; the rest are counted. The hostile forms come from several clients while
another streams without a form. Its waits between two tokens are compared with those beside as many requests without a
form, and with those alone. They have everything in them that the machine does besides. How long forms held a step is
the engine's own figure: never over 50 ms. On a busy machine the engine's thread itself may have to wait for a core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import re
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jsonschema

import tests.system.server_process as server_process
from tests.structured_outputs.schemas import random_junk, random_regex, random_schema
from tests.system.server_process import ServerProcess
from tests.vllm.environment import WITHOUT_COMPILER

_NUM_CLIENTS, _NUM_ATTACKERS = 8, 4

print = partial(print, flush=True)


async def main() -> None:
    """Serve, ask, print; exit with 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemas", type=int, default=500)
    parser.add_argument("--regexes", type=int, default=50)
    parser.add_argument("--hostile", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--base-model")
    parser.add_argument("--engine", choices=["own", "vllm"], default="own")
    options = parser.parse_args()
    settings: dict[str, Any] = {} if options.base_model is None else {"base_model": options.base_model}
    if options.engine == "vllm":
        server_process.START_TIMEOUT_S = 600.0  # vLLM starts processes, and runs its proof
        settings |= {"engine": "vllm", "vllm_args": "enforce_eager=true", "environment": WITHOUT_COMPILER}
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder) / "server.log", data_dir=folder, device="cpu", **settings) as server,
    ):
        async with httpx.AsyncClient(base_url=server.url, timeout=300) as client:
            model = (await client.get("/v1/models")).json()["data"][0]["id"]
            is_right = await _answers(client, model, options)
            is_right &= await _hostile(client, model, options)
    raise SystemExit(not is_right)


async def _answers(client: httpx.AsyncClient, model: str, options: argparse.Namespace) -> bool:
    rng = random.Random(options.seed)
    forms: list[dict[str, Any]] = [{"json": random_schema(rng)} for _ in range(options.schemas)]
    forms += [{"regex": random_regex(rng)} for _ in range(options.regexes)]
    found: Counter[str] = Counter()
    bad: list[str] = []
    waiting = asyncio.Semaphore(_NUM_CLIENTS)

    async def ask(number: int, form: dict[str, Any], temperature: float, stream: bool) -> None:
        body = {
            "model": model,
            "prompt": "An example:",
            "structured_outputs": form,
            "temperature": temperature,
            "seed": number,
            "max_tokens": 400,
        }
        async with waiting:
            status, text, reason = await (_streamed if stream else _whole)(client, body)
        found["refused" if status != 200 else reason] += 1
        if status != 200:
            bad.append(f"{status} {text} {json.dumps(form)[:300]}")
        elif reason == "stop" and not _fits(form, text):
            bad.append(f"does not fit: {text!r} {json.dumps(form)[:500]}")

    began = time.monotonic()
    await asyncio.gather(
        *(
            ask(number, form, temperature, stream)
            for number, form in enumerate(forms)
            for temperature in (0.0, 1.0)
            for stream in (False, True)
        )
    )
    num_asked = sum(found.values())
    share = found["stop"] / max(1, num_asked)
    print(f"{num_asked} answers in {time.monotonic() - began:.0f} s: {dict(found)}; {share:.1%} end within their bound")
    print(f"{len(bad)} wrong", *bad[:10], sep="\n  ")
    return not bad and share >= 0.95


def _fits(form: dict[str, Any], text: str) -> bool:
    if "regex" in form:
        return re.fullmatch(form["regex"], text) is not None
    try:
        jsonschema.validate(json.loads(text), form["json"])
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


async def _whole(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, str, str]:
    response = await client.post("/v1/completions", json=body)
    answer = response.json()
    if response.status_code != 200:
        return response.status_code, answer["error"]["message"], ""
    (choice,) = answer["choices"]
    return 200, choice["text"], choice["finish_reason"]


async def _streamed(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, str, str]:
    text, reason = "", ""
    async with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as response:
        if response.status_code != 200:
            return response.status_code, json.loads(await response.aread())["error"]["message"], ""
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    return 500, event["error"]["message"], ""
                for choice in event["choices"]:
                    text, reason = text + choice["text"], choice["finish_reason"] or reason
    return 200, text, reason


async def _hostile(client: httpx.AsyncClient, model: str, options: argparse.Namespace) -> bool:
    alone = await _gaps(client, model, asyncio.create_task(asyncio.sleep(15)))
    plain = await _gaps(client, model, asyncio.ensure_future(_ask_without_forms(client, model, for_s=15)))
    rng = random.Random(options.seed + 1)
    forms = [random_junk(rng) for _ in range(options.hostile)]
    statuses: Counter[int] = Counter()
    messages: Counter[str] = Counter()
    unexpected: list[str] = []
    slowest = [0.0]

    async def attack(part: list[dict[str, Any]]) -> None:
        for form in part:
            body = _short(model) | {"structured_outputs": form}
            began = time.monotonic()
            response = await client.post("/v1/completions", json=body)
            slowest[0] = max(slowest[0], time.monotonic() - began)
            statuses[response.status_code] += 1
            if response.status_code != 200:
                messages[re.sub(r"[0-9]+|at /\S*|'[^']*'", "_", response.json()["error"]["message"])[:80]] += 1
            if response.status_code not in (200, 400, 422):
                unexpected.append(f"{response.status_code} {response.text[:200]} {json.dumps(form)[:200]}")

    held_before = await _holds(client)
    attacks = asyncio.gather(*(attack(forms[number::_NUM_ATTACKERS]) for number in range(_NUM_ATTACKERS)))
    began = time.monotonic()
    beside = await _gaps(client, model, asyncio.ensure_future(attacks))
    took_s = time.monotonic() - began
    held = await _holds(client) - held_before
    print(f"{options.hostile} hostile forms in {took_s:.0f} s: {dict(statuses)}; slowest {slowest[0]:.2f} s")
    for message, count in messages.most_common(40):
        print(f"  {count:6d}  {message}")
    print("a neighbour's waits between tokens in ms (median, 99 %, longest):", end=" ")
    print(f"alone {_told(alone)}, beside requests without a form {_told(plain)}, beside hostile ones {_told(beside)}")
    print(f"steps that forms held, by their longest time in s: {dict(held)}")
    num_held = held["0.1"] + held["+Inf"]
    print(f"{num_held} of {held.total()} steps held over 50 ms")
    print(f"{len(unexpected)} unexpected", *unexpected[:10], sep="\n  ")
    health = await client.get("/health")
    return not unexpected and num_held == 0 and health.status_code == 200


async def _holds(client: httpx.AsyncClient) -> Counter[str]:
    """Steps with a form so far, by the upper bound in seconds of how long forms held them."""
    text = (await client.get("/metrics")).text
    found = re.findall(r'softprompt_form_hold_seconds_bucket\{le="(.*)"\} (.*)', text)
    below = [0, *(int(float(number)) for _, number in found)]
    return Counter({bound: high - low for (bound, _), low, high in zip(found, below, below[1:], strict=False)})


async def _ask_without_forms(client: httpx.AsyncClient, model: str, for_s: float) -> None:
    end = time.monotonic() + for_s

    async def ask() -> None:
        while time.monotonic() < end:
            (await client.post("/v1/completions", json=_short(model))).raise_for_status()

    await asyncio.gather(*(ask() for _ in range(_NUM_ATTACKERS)))


def _short(model: str) -> dict[str, Any]:
    return {"model": model, "prompt": "x", "max_tokens": 8, "temperature": 1}


async def _gaps(client: httpx.AsyncClient, model: str, until: asyncio.Future[Any]) -> list[float]:
    """Seconds between the tokens of one stream after another, until something is done.

    A process of its own reads the streams: the attackers' bodies would hold up this one's event loop.
    """
    with multiprocessing.get_context("spawn").Manager() as manager:
        is_over = manager.Event()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            reading = pool.submit(_read_streams, str(client.base_url), model, is_over)
            await until
            is_over.set()
            return await asyncio.wrap_future(reading)


def _read_streams(url: str, model: str, is_over: threading.Event) -> list[float]:
    gaps: list[float] = []
    body = {"model": model, "prompt": "x", "stream": True, "ignore_eos": True, "max_tokens": 60}
    with httpx.Client(base_url=url, timeout=300) as client:
        while not is_over.is_set():
            with client.stream("POST", "/v1/completions", json=body) as response:
                last = None
                for line in response.iter_lines():
                    if line.startswith("data: {"):
                        now = time.monotonic()
                        if last is not None:
                            gaps.append(now - last)
                        last = now
    return gaps


def _told(gaps: list[float]) -> str:
    slow = statistics.quantiles(gaps, n=100)[98]
    return ", ".join(f"{gap * 1e3:.1f}" for gap in (statistics.median(gaps), slow, max(gaps)))


if __name__ == "__main__":
    asyncio.run(main())
