"""Both halves of the connector under a small engine with vLLM's order of calls, in which everything may happen.

Requests come, wait, are preempted, cancelled and finished at random. Reports may arrive a step late, as with
asynchronous scheduling. Blocks come full of NaN, so that a missing copy shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch

from softprompt_vllm.cache_layout import CacheLayout
from softprompt_vllm.plan import StepPlan, WorkerReport
from softprompt_vllm.scheduler_half import SchedulerHalf
from softprompt_vllm.settings import Settings
from softprompt_vllm.worker_half import Rank, WorkerHalf
from tests.softprompt_vllm.fakes import BLOCK_SIZE, DIM, KEY, LAYERS, NUM_HEADS, FakeAttention, FakeRequest, layout

NUM_BLOCKS = 24


def content_of(digest: str, layer: str, num: int) -> torch.Tensor:
    """Keys and values of a soft prompt, `[num, heads, 2 * dim]`."""
    seed = hashlib.sha256(f"{digest} {layer}".encode()).digest()[:4]
    generator = torch.Generator().manual_seed(int.from_bytes(seed, "little"))
    return torch.randn(num, NUM_HEADS, 2 * DIM, generator=generator)


@dataclass
class Open:
    """A request in the engine. `num_computed` counts positions; `blocks` are empty while it waits for some."""

    request: FakeRequest
    blocks: list[int] = field(default_factory=list)
    num_computed: int = 0
    is_cancelled: bool = False

    @property
    def is_capture(self) -> bool:
        """Whether it has rows."""
        return self.request.prompt_embeds is not None

    @property
    def digest(self) -> str:
        """The soft prompt that its salt names."""
        return str(self.request.cache_salt).split(":")[1]

    @property
    def num_virtual_tokens(self) -> int:
        """As its parameters say."""
        return int(self.request.kv_transfer_params["num_virtual_tokens"])


class SimulatedEngine:
    """One scheduler, one or more workers with whole caches, and the outcome of every request that ended."""

    def __init__(self, folder: Path | None, max_bytes: int, num_workers: int, rng: Random) -> None:
        self.sizes: CacheLayout = layout(NUM_BLOCKS)
        self.half = SchedulerHalf(Settings(folder, KEY, max_bytes, 0), self.sizes, num_workers)
        self.workers, self.caches = [], []
        for _ in range(num_workers):
            worker = WorkerHalf(folder, self.sizes, 0, Rank(0, 1))
            caches = {name: torch.full((NUM_BLOCKS, NUM_HEADS, BLOCK_SIZE, 2 * DIM), torch.nan) for name in LAYERS}
            modules = {name: FakeAttention() for name in LAYERS}
            worker.register(caches, modules, {name: number for number, name in enumerate(LAYERS)})
            self.workers.append(worker)
            self.caches.append(caches)
        self.rng = rng
        self.waiting: list[Open] = []
        self.running: list[Open] = []
        self.loading: dict[str, Open] = {}
        self.ended: dict[str, str] = {}
        self._free = set(range(1, NUM_BLOCKS))
        self._late: list[tuple[WorkerReport | None, set[str], set[str]]] = []

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return len(self.waiting) + len(self.running) + len(self.loading)

    def add(self, request: FakeRequest) -> None:
        """Take a request in."""
        self.half.add(request)
        self.waiting.append(Open(request))

    def cancel(self) -> None:
        """End any request. As in vLLM, one that waits for a load has its blocks until the load is done."""
        if not (every := self.waiting + self.running + list(self.loading.values())):
            return
        one = self.rng.choice(every)
        if one.request.request_id not in self.loading:
            self._end(one, "cancelled")
        elif not one.is_cancelled:
            one.is_cancelled = True
            self.half.finish(one.request)
            self.ended[one.request.request_id] = "cancelled"

    def preempt(self) -> None:
        """Take the blocks of a running request. It starts anew."""
        if self.running:
            one = self.rng.choice(self.running)
            self.running.remove(one)
            self._release(one)
            one.num_computed = 0
            self.waiting.insert(0, one)

    def step(self, *, is_late: bool = False) -> None:
        """Schedule, load, compute, save. With `is_late` the reports are read after the next step's plan."""
        started = self._admit()
        chunks = {id(one): (one.num_computed, self._chunk(one)) for one in self.running}
        scheduled = {
            one.request.request_id: (*chunks[id(one)], (one.blocks,))
            for one in self.running
            if self.half.is_capturing(one.request.request_id)
        }
        plan = self.half.build(scheduled)
        for worker in self.workers:
            worker.load(plan)
        for one in started:
            self._check(one)
        self._compute(chunks)
        self._late.append(self._save(plan))
        while len(self._late) > is_late:
            self._read_results(*self._late.pop(0))
        for one in list(self.running):
            if one.num_computed == one.request.num_tokens and self.rng.random() < 0.5:
                self._end(one, "done")

    def _admit(self) -> list[Open]:
        started = []
        for one in list(self.waiting):
            num, is_waiting = self.half.match(one.request, 0)
            if num is None:
                continue
            num_blocks = -(-one.request.num_tokens // BLOCK_SIZE)
            if num_blocks > len(self._free):
                break
            one.blocks = self.rng.sample(sorted(self._free), num_blocks)
            self._free -= set(one.blocks)
            for caches in self.caches:
                for cache in caches.values():
                    cache[one.blocks] = torch.nan
            self.half.allocate(one.request, (one.blocks,), num)
            self.waiting.remove(one)
            one.num_computed = num
            if is_waiting:
                self.loading[one.request.request_id] = one
            else:
                self.running.append(one)
                started.append(one)
        return started

    def _chunk(self, one: Open) -> int:
        rest = one.request.num_tokens - one.num_computed
        return self.rng.randint(1, rest) if rest else 0

    def _compute(self, chunks: dict[int, tuple[int, int]]) -> None:
        for one in self.running:
            start, count = chunks[id(one)]
            one.num_computed = start + count
            if one.is_capture and count:
                for caches in self.caches:
                    for name, cache in caches.items():
                        rows = content_of(one.digest, name, one.num_virtual_tokens)
                        for position in range(start, start + count):
                            cache[one.blocks[position // BLOCK_SIZE], :, position % BLOCK_SIZE] = rows[position]

    def _save(self, plan: StepPlan) -> tuple[WorkerReport | None, set[str], set[str]]:
        finished: list[set[str]] = []
        failed: set[str] = set()
        total: WorkerReport | None = None
        for worker in self.workers:
            worker.save(plan)
            results = worker.take_results()
            finished.append(results[0])
            failed |= results[1]
            report = worker.take_report()
            if report is not None:
                total = report if total is None else total.aggregate(report)
        assert all(each == finished[0] for each in finished)
        return total, finished[0], failed

    def _read_results(self, report: WorkerReport | None, finished: set[str], failed: set[str]) -> None:
        if report is not None:
            self.half.report(report)
        for request_id in finished:
            one = self.loading.pop(request_id)
            if one.is_cancelled:
                self._release(one)
            elif request_id in failed:
                self._end(one, "error")
            else:
                self._check(one)
                self.running.append(one)

    def _check(self, one: Open) -> None:
        """A request that runs has its soft prompt in its blocks, and zeros behind it up to the end of a block."""
        if one.is_capture:
            return
        num = one.num_virtual_tokens
        for caches in self.caches:
            for name, cache in caches.items():
                found = _positions(cache, one.blocks, -(-num // BLOCK_SIZE) * BLOCK_SIZE)
                assert torch.equal(found[:num], content_of(one.digest, name, num)), one.request.request_id
                assert not found[num:].any()

    def _end(self, one: Open, outcome: str) -> None:
        for group in (self.waiting, self.running):
            if one in group:
                group.remove(one)
        self._release(one)
        self.half.finish(one.request)
        self.ended[one.request.request_id] = outcome

    def _release(self, one: Open) -> None:
        self._free |= set(one.blocks)
        one.blocks = []


def _positions(cache: torch.Tensor, blocks: Sequence[int], num: int) -> torch.Tensor:
    return torch.stack([cache[blocks[p // BLOCK_SIZE], :, p % BLOCK_SIZE] for p in range(num)])
