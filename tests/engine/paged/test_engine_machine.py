"""Any order of requests, steps, aborts and failures: the books agree after each, and every answer is that of one alone.

The engine, scheduler, block manager and residency are real; the runner is scripted and checks every slot it reads.
Caches are tiny, so that preemption, prefix-cache hits, evicted prefixes, forks and copies happen together.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from server.engine.errors import RequestRefused, StepFailed
from server.engine.events import (
    TERMINAL,
    FinishReason,
    PromptProcessed,
    RequestFailed,
    RequestFinished,
    Scored,
    TokenEvent,
)
from server.engine.request import Generate, Kind, Request, SamplingParams, Score
from server.model.encoder_decoder.decoding import Decoding
from server.model.prefix import PrefixKind
from tests.engine.paged.alone import alone_choice, check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import is_nan, text, tokens_of
from tests.engine.paged.scripted_runner import EOS, NAN_TOKEN, make_prefix

PREFIXES = [
    None,
    *(
        make_prefix(number, length, PrefixKind.EMBEDDINGS if number % 2 else PrefixKind.KEY_VALUES)
        for number, length in enumerate((1, 3, 4, 5, 8, 6, 2), start=1)
    ),
]
PREFIX = st.integers(0, len(PREFIXES) - 1)
SHARED_TEXTS = [text(11, seed=1), text(6, seed=2), text(17, seed=3)]
TASKS = ("", "a", "b", "c", "d")
DECODINGS = (None, None, None, Decoding(1), Decoding(2, forced_bos=3, forced_eos=EOS))
SALTS = (b"", b"", b"", b"another caller")

tokens = st.integers(1, NAN_TOKEN - 1)
tails = st.lists(tokens, max_size=5).map(tuple)
shared = st.builds(lambda words, cut: words[:cut], st.sampled_from(SHARED_TEXTS), st.integers(0, 17))
prompts = st.builds(lambda head, tail: head + tail or (1,), shared, tails)

coverage: Counter[str] = Counter()


class EngineMachine(RuleBasedStateMachine):
    """One engine with a cache far too small for what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.aborted: set[str] = set()
        self.aborted_choices: set[tuple[str, int]] = set()
        self.may_fail: set[str] = set()  # requests that lived while a failure was injected
        self.seen: set[str] = set()

    @initialize(
        block_size=st.sampled_from([2, 3, 4]),
        spare=st.integers(0, 16),
        max_num_seqs=st.integers(1, 9),
        more_tokens=st.integers(1, 12),
        max_prefix_blocks=st.integers(4, 9),
        fair_quantum=st.sampled_from([1, 8, 64]),
        decoding=st.sampled_from(DECODINGS),
        batch_share=st.sampled_from([0.0, 0.2, 0.9]),
    )
    def start(
        self, block_size, spare, max_num_seqs, more_tokens, max_prefix_blocks, fair_quantum, decoding, batch_share
    ):
        self.harness = EngineHarness(
            make_options(
                num_blocks=max_prefix_blocks + 9 + spare,
                block_size=block_size,
                max_num_seqs=max_num_seqs,
                max_batch_tokens=max_num_seqs + more_tokens,
                max_prefix_blocks=max_prefix_blocks,
                fair_quantum=fair_quantum,
                max_context=48,
                decoding=decoding,
                max_encoder_positions=48,
                batch_share=batch_share,
            )
        )
        self.decoding = decoding

    # --- what callers do ----------------------------------------------------------------------------------------------

    @rule(
        prompt=prompts,
        prefix=PREFIX,
        task=st.sampled_from(TASKS),
        salt=st.sampled_from(SALTS),
        num_choices=st.sampled_from([1, 1, 1, 2, 4]),
        max_tokens=st.integers(0, 12),
        min_tokens=st.sampled_from([0, 0, 3]),
        temperature=st.sampled_from([0.0, 1.0]),
        prompt_logprobs=st.sampled_from([None, None, None, 2]),
        is_nan=st.sampled_from([False] * 9 + [True]),
        is_batch=st.sampled_from([False, False, True]),
    )
    def generate(self, prompt, prefix, task, salt, num_choices, is_nan, is_batch, **sampling):
        if is_nan:  # a prompt that the model answers with NaN, from somewhere in its middle on
            prompt = (*prompt[:5], NAN_TOKEN, *prompt[5:])
        params = SamplingParams(seed=self.numbers, **sampling)
        kind = Generate(params, num_choices)
        self.submit(Request(self.new_name(), task, prompt, kind, PREFIXES[prefix], salt, is_batch=is_batch))
        self.saw("a batch", is_batch)
        self.saw("choices", num_choices > 1)
        self.saw("prompt log-probabilities", params.prompt_logprobs is not None)

    @rule(
        prompt=prompts,
        prefix=PREFIX,
        task=st.sampled_from(TASKS),
        continuations=st.lists(st.lists(tokens, min_size=1, max_size=6).map(tuple), min_size=1, max_size=4),
        is_batch=st.booleans(),
    )
    def score(self, prompt, prefix, task, continuations, is_batch):
        kind = Score(tuple(continuations))
        self.submit(Request(self.new_name(), task, prompt, kind, PREFIXES[prefix], is_batch=is_batch))

    @rule(words=st.sampled_from(SHARED_TEXTS), prefix=PREFIX, count=st.integers(3, 8), num_tasks=st.integers(1, 3))
    def burst(self, words, prefix, count, num_tasks):
        """Many requests with one beginning, as an application with a long template sends them."""
        for number in range(count):
            params = SamplingParams(max_tokens=12, temperature=1.0, seed=number, ignore_eos=True)
            prompt = words + text(number % 4, seed=number)
            task = TASKS[number % num_tasks]
            self.submit(Request(self.new_name(), task, prompt, Generate(params), PREFIXES[prefix]))

    def submit(self, request: Request[Kind]) -> None:
        try:
            self.harness.add(request)
        except RequestRefused:
            return
        coverage["requests"] += 1

    @rule(count=st.integers(1, 6))
    def step(self, count):
        for _ in range(count):
            self.harness.engine.step()
            self.observe()

    @precondition(lambda self: self.open_requests())
    @rule(data=st.data())
    def abort(self, data):
        request_id = data.draw(st.sampled_from(self.open_requests()))
        self.aborted.add(request_id)
        self.harness.engine.abort(request_id)
        self.saw("aborted requests")

    @precondition(lambda self: self.open_requests())
    @rule(data=st.data())
    def abort_choice(self, data):
        request_id = data.draw(st.sampled_from(self.open_requests()))
        request = self.harness.requests[request_id]
        if not isinstance(request.kind, Generate):
            return
        choice = data.draw(st.integers(0, request.kind.num_choices - 1))
        self.aborted_choices.add((request_id, choice))
        self.harness.engine.abort(request_id, choice)
        self.saw("aborted choices")

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    @rule(call=st.sampled_from(["forward", "forward", "copy", "load"]))
    def fail_a_step(self, call):
        """Some call of the next step raises, if it is made at all."""
        self.harness.runner.fail_next = {call}
        self.may_fail.update(self.open_requests())
        self.harness.engine.step()
        self.saw("failed steps", call not in self.harness.runner.fail_next)
        self.harness.runner.fail_next = set()

    @rule(prefix=st.integers(1, len(PREFIXES) - 1), count=st.integers(1, 3))
    def fail_a_prefix(self, prefix, count):
        """A prefix does not load for some steps; then it does."""
        self.harness.runner.failing_prefixes = {PREFIXES[prefix].digest}
        mine = {name for name in self.open_requests() if self.harness.requests[name].prefix is PREFIXES[prefix]}
        self.may_fail.update(mine)
        for _ in range(count):
            self.harness.engine.step()
            self.observe()
        self.harness.runner.failing_prefixes = set()
        self.saw("failed prefixes", bool(mine - set(self.open_requests())))

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def books_agree(self):
        if hasattr(self, "harness"):
            self.harness.check_books()

    def teardown(self):
        if not hasattr(self, "harness"):
            return
        harness = self.harness
        work = sum(len(request.prompt_token_ids) + 60 for request in harness.requests.values())
        harness.drain(most=200 + 4 * work)
        harness.check_empty()
        for request_id, request in harness.requests.items():
            self.check_request(request_id, request)
        self.note_coverage()

    def check_request(self, request_id: str, request: Request[Kind]) -> None:
        events = self.harness.events[request_id]
        assert sum(isinstance(event, TERMINAL) for event in events) == 1
        assert sum(isinstance(event, PromptProcessed) for event in events) <= 1
        last = events[-1]
        if isinstance(last, RequestFailed) and isinstance(last.cause, StepFailed):
            assert request_id in self.may_fail
            return
        if isinstance(last, RequestFailed) and request_id in self.may_fail:
            assert is_nan(last.cause)
            return
        if request_id in self.aborted:
            assert isinstance(last, RequestFinished | Scored | RequestFailed)
            return
        if any(name == request_id for name, _ in self.aborted_choices):
            self.check_partly_aborted(request_id, request)
            return
        check_answer(request, events, self.decoding)

    def check_partly_aborted(self, request_id: str, request: Request[Kind]) -> None:
        """Choices that were not aborted are as ever; those that were have a beginning of it."""
        events = self.harness.events[request_id]
        assert isinstance(request.kind, Generate)
        if isinstance(events[-1], RequestFailed):
            return
        for choice in range(request.kind.num_choices):
            alone = alone_choice(request, choice, self.decoding)
            got = tokens_of(events, choice)
            ended = [event for event in events if getattr(event, "choice", None) == choice and event.finish_reason]
            assert len(ended) == 1
            if ended[0].finish_reason is FinishReason.ABORTED:
                assert (request_id, choice) in self.aborted_choices
                assert got == alone.tokens[: len(got)]
            else:
                assert got == alone.tokens

    # --- what was reached ---------------------------------------------------------------------------------------------

    def open_requests(self) -> list[str]:
        return sorted(group.request_id for group in self.harness.engine.requests) if hasattr(self, "harness") else []

    def new_name(self) -> str:
        self.numbers += 1
        return f"r{self.numbers}"

    def saw(self, what: str, happened: bool = True) -> None:
        if happened:
            self.seen.add(what)

    def observe(self) -> None:
        scheduler = self.harness.scheduler
        running = [sequence for lane in self.harness.lanes for sequence in lane.running]
        prefix_blocks = {block for entry in scheduler.residency.resident for block in entry.blocks}
        shared_blocks = [
            block
            for sequence in running
            for block in sequence.own_blocks
            if scheduler.blocks.references(block) > 1 and block not in prefix_blocks
        ]
        self.saw("shared text blocks", bool(shared_blocks))
        groups = Counter(id(sequence.group) for sequence in running)
        self.saw("forks running together", any(count > 1 for count in groups.values()))
        readers = [sequence.group.encoder.num_readers for sequence in running if sequence.group.encoder]
        self.saw("an encoder's output that forks share", max(readers, default=0) > 1)
        self.saw("a mixed batch", bool(self.harness.runner.batches) and len(set(self.harness.runner.batches[-1])) > 1)

    def note_coverage(self) -> None:
        stats = self.harness.engine.stats
        events = [event for events in self.harness.events.values() for event in events]
        hits = any(isinstance(event, PromptProcessed | Scored) and event.num_cached_tokens for event in events)
        nan = any(isinstance(e, RequestFailed) and is_nan(e.cause) for e in events)
        num_requests = len(self.harness.requests)
        self.saw("inputs encoded again after preemption", self.harness.runner.num_encoded > num_requests)
        self.saw("preemption", stats.num_preemptions > 0)
        self.saw("prefix-cache hits", hits)
        self.saw("preemption and prefix-cache hits", hits and stats.num_preemptions > 0)
        self.saw("prefix loads", stats.num_prefix_loads > 0)
        self.saw("prefixes evicted and loaded again", stats.num_prefix_loads > len(PREFIXES) - 1)
        self.saw("block copies", self.harness.runner.num_copies > 0)
        self.saw("NaN", nan)
        self.saw("tokens", any(isinstance(event, TokenEvent) for event in events))
        coverage["examples"] += 1
        coverage.update(self.seen)


MUST_BE_REACHED = (
    "preemption",
    "prefix-cache hits",
    "preemption and prefix-cache hits",
    "prefix loads",
    "block copies",
    "shared text blocks",
    "forks running together",
    "a mixed batch",
    "a batch",
    "an encoder's output that forks share",
    "inputs encoded again after preemption",
    "NaN",
    "failed steps",
    "failed prefixes",
    "aborted requests",
    "aborted choices",
)


@pytest.mark.timeout(900)  # passing takes seconds; a failure is shrunk before it is shown
def test_any_order_of_events_keeps_the_books_and_the_answers():
    """Blocks and leases return to zero, each request ends once, and batched, cached and preempted equal alone."""
    coverage.clear()
    run_state_machine_as_test(
        EngineMachine,
        settings=settings(
            max_examples=120,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    print("\nexamples in which it happened:", dict(sorted(coverage.items())))
    for what in MUST_BE_REACHED:
        assert coverage[what] > 0, f"no example reached: {what}"
