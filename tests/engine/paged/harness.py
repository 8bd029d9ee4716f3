"""An engine over the scripted runner, and the check of its books."""

from __future__ import annotations

import itertools
from collections import Counter

from server.engine.events import (
    TERMINAL,
    EngineEvent,
    TokenEvent,
)
from server.engine.paged.encoder_state import EncoderState
from server.engine.paged.engine import Engine
from server.engine.paged.holders import read_usage
from server.engine.paged.options import EngineOptions, check_request
from server.engine.paged.sequence import Sequence
from server.engine.request import Kind, Request
from server.model.encoder_decoder.decoding import Decoding
from tests.engine.paged.alone import check_answer
from tests.engine.paged.scripted_runner import EOS, VOCAB_SIZE, ScriptedRunner


def make_options(**changes: float | frozenset[int] | Decoding | None) -> EngineOptions:
    """Roomy options over blocks of four tokens; a test names what it wants otherwise."""
    values: dict[str, float | frozenset[int] | Decoding | None] = {
        "num_blocks": 129,
        "block_size": 4,
        "max_prefix_blocks": 32,
        "max_num_seqs": 8,
        "max_batch_tokens": 64,
        "max_open_requests": 1000,
        "max_context": 96,
        "vocab_size": VOCAB_SIZE,
        "eos_token_ids": frozenset({EOS}),
        "fair_quantum": 32,
        "max_scored_rows": 6,
    }
    return EngineOptions(**(values | changes))  # type: ignore[arg-type]


def make_runner(options: EngineOptions) -> ScriptedRunner:
    """A runner of the options' size that checks their limits."""
    max_logits = options.max_num_seqs + options.max_scored_rows
    return ScriptedRunner(
        options.num_blocks, options.block_size, options.max_batch_tokens, options.max_num_seqs, max_logits
    )


class EngineHarness:
    """An engine over a scripted runner that keeps each request's events, in order."""

    def __init__(self, options: EngineOptions | None = None) -> None:
        self.options = options or make_options()
        self.runner = make_runner(self.options)
        self.engine = Engine(self.runner, self.options, clock=itertools.count().__next__)  # each step takes one tick
        self.scheduler = self.engine.scheduler
        self.lanes = (self.scheduler, self.engine.batch_scheduler)
        self.runner.references = self.scheduler.blocks.references
        self.requests: dict[str, Request] = {}
        self.events: dict[str, list[EngineEvent]] = {}

    def add(self, request: Request[Kind]) -> list[EngineEvent]:
        """Accept a request as the door does; the answer is where its events will be."""
        check_request(request, self.options)
        self.requests[request.request_id] = request
        events = self.events.setdefault(request.request_id, [])
        self.engine.add(request, events.append)
        return events

    def steps(self, count: int) -> None:
        """Compute some batches."""
        for _ in range(count):
            self.engine.step()

    def drain(self, most: int = 2000) -> int:
        """Compute until nothing is left; returns the number of steps."""
        count = 0
        while self.engine.has_work:
            assert count < most, f"{self.engine.stats} after {count} steps"
            self.engine.step()
            count += 1
        return count

    def steps_to_first_token(self, events: list[EngineEvent]) -> int:
        """Compute until a request has its first token; returns the number of steps."""
        for count in range(1, 500):
            self.engine.step()
            if any(isinstance(event, TokenEvent) for event in events):
                return count
        raise AssertionError("no token came")

    def check_all(self) -> None:
        """Assert that every request got what it gets alone, and that nothing is left."""
        for request_id, request in self.requests.items():
            check_answer(request, self.events[request_id], self.options.decoding)
        self.check_empty()

    def check_books(self) -> None:
        """Assert that blocks, leases and queues say the same, and that nothing was read or written wrongly."""
        scheduler, runner = self.scheduler, self.runner
        assert runner.violations == []
        scheduler.blocks.check()
        running = [sequence for lane in self.lanes for sequence in lane.running]
        resident = list(scheduler.residency.resident)
        held = [0] * self.options.num_blocks
        for sequence in running:
            for block in sequence.own_blocks:
                held[block] += 1
        for entry in resident:
            for block in entry.blocks:
                held[block] += 1
        for encoder, num_readers in self._encoders(running):
            assert encoder.num_readers == num_readers
            assert len(encoder.block_table) == -(-encoder.num_positions // self.options.block_size)
            for block in encoder.block_table:
                held[block] += 1
        assert held == [0, *(scheduler.blocks.references(block) for block in range(1, len(held)))]
        for entry in resident:
            assert entry.num_leases == sum(sequence.lease is entry for sequence in running)
        assert scheduler.residency.num_blocks == sum(len(entry.blocks) for entry in resident)
        assert scheduler.residency.num_blocks <= self.options.max_prefix_blocks
        for sequence in running:
            assert (sequence.lease is None) == (sequence.prefix is None)
        waiting = [sequence for lane in self.lanes for sequence in lane.waiting]
        assert not any(sequence.lease or sequence.block_table or sequence.num_computed for sequence in waiting)
        assert not any(sequence.reads_encoder for sequence in waiting)
        assert all(lane.num_running <= self.options.max_num_seqs for lane in self.lanes)
        self._check_requests({*running, *waiting})
        open_of_task: dict[str, int] = {}
        for sequence in (*running, *waiting):
            open_of_task[sequence.task] = open_of_task.get(sequence.task, 0) + 1
        in_lanes = Counter[str]()
        for number, lane in enumerate(self.lanes):
            in_lanes.update(lane.counters.num_open)
            assert all(one.group.request.is_batch == bool(number) for one in (*lane.running, *lane.waiting))
        assert in_lanes == open_of_task
        self._check_usage(open_of_task)

    def _encoders(self, running: list[Sequence]) -> list[tuple[EncoderState, int]]:
        """The encoder parts of the requests that run, each with the number of its running sequences."""
        numbers = Counter(sequence.group for sequence in running)
        return [(group.encoder, number) for group, number in numbers.items() if group.encoder is not None]

    def _check_usage(self, open_of_task: dict[str, int]) -> None:
        """Every block has one holder in the usage, and every sequence is counted."""
        usage = read_usage(*self.lanes)
        assert {each.task: each.num_running + each.num_waiting for each in usage.tasks} == open_of_task
        num_held = sum(each.num_blocks for each in (*usage.tasks, *usage.prefixes))
        assert num_held + usage.num_cached_blocks + usage.num_empty_blocks == usage.num_blocks

    def _check_requests(self, known: set[object]) -> None:
        """Every open request has a sequence that runs or waits; every closed one ended in one terminal event."""
        groups = {group.request_id: group for group in self.engine.requests}
        for group in groups.values():
            alive = [sequence for sequence in group.sequences if not sequence.is_finished]
            assert any(sequence in known for sequence in alive), f"{group.request_id} is lost"
            assert all(sequence in known or sequence.is_unforked for sequence in alive)
        assert len(known) == sum(sequence in known for group in groups.values() for sequence in group.sequences), (
            "a sequence of a request that has ended is still there"
        )
        for request_id, events in self.events.items():
            num_terminal = sum(isinstance(event, TERMINAL) for event in events)
            assert num_terminal == (request_id not in groups)
            assert not num_terminal or isinstance(events[-1], TERMINAL), (
                f"{request_id}: an event after the terminal one"
            )

    def check_empty(self) -> None:
        """Assert that blocks and leases return to zero: only idle prefixes may stay, and they can leave."""
        self.check_books()
        assert self.engine.stats.num_leases == 0
        assert not any(group.encoder and group.encoder.block_table for group in self.engine.requests)
        while self.scheduler.residency.evict_idle():
            pass
        assert self.scheduler.residency.num_resident == 0
        assert self.engine.stats.num_free_blocks == self.options.num_blocks - 1
