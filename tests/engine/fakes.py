"""A scripted runner over a KV cache that knows what each slot should hold.

No tensors of a model: a slot remembers the whole history (prefix digest, then every token) that its key and value
would come from, and logits are a function of the history read back through the block table. A wrong block, a stale
slot, a forgotten copy or another task's content is noted as a violation and changes the answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from server.engine.engine import Engine
from server.engine.options import EngineOptions, check_request
from server.engine.request import (
    ChoiceFinished,
    EngineEvent,
    FinishReason,
    GenerateRequest,
    PromptProcessed,
    Request,
    RequestFailed,
    RequestFinished,
    SamplingParams,
    Scored,
    ScoreRequest,
    TokenEvent,
)
from server.model.errors import NonFiniteValues
from server.model.flat_batch import Chunk
from server.model.kv_cache import BlockCopy
from server.model.prefix import Prefix, PrefixKind
from server.model.runner import PrefixPlacement
from server.model.sampling.sampling_row import SamplingRow
from tests.model.row_by_row import sample_row

VOCAB_SIZE = 13
EOS = 0
NAN_TOKEN = 12  # a token whose keys, values and logits are NaN, as an overflow in half precision would make them
TERMINAL = (RequestFinished, Scored, RequestFailed)

History = int


class InjectedFailure(Exception):
    """What a test made a runner raise."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a slot holds: the history up to its position, the history before it, and whether it is NaN."""

    history: History
    before: History
    position: int
    is_nan: bool = False


def text_root() -> History:
    """The history before the first token where there is no prefix."""
    return hash((0, 0))


def prefix_history(prefix: Prefix, position: int) -> History:
    """The history at a virtual position."""
    return hash((int(prefix.digest[:14], 16), position, 1))


def next_history(before: History, token: int) -> History:
    """The history after one more text token."""
    return hash((before, token, 2))


def history_of(prefix: Prefix | None, tokens: Sequence[int]) -> History:
    """The history after a prefix and tokens."""
    history = text_root() if prefix is None else prefix_history(prefix, prefix.num_virtual_tokens - 1)
    for token in tokens:
        history = next_history(history, token)
    return history


def scripted_logits(history: History) -> list[float]:
    """The model: a row of logits from nothing but the history. The NaN token is rare and the end token not frequent."""
    row = [(hash((history, token, 3)) >> 7) % 997 / 200 for token in range(VOCAB_SIZE)]
    row[NAN_TOKEN] -= 1.5
    row[EOS] -= 0.5
    return row


def make_prefix(number: int, num_virtual_tokens: int) -> Prefix:
    """A soft prompt that exists in name only; equal numbers make equal digests."""
    digest = f"{number:014x}".rjust(14, "0").ljust(64, "0")
    return Prefix(digest, PrefixKind.EMBEDDINGS, torch.zeros(num_virtual_tokens, 1))


@dataclass
class ScriptedRunner:
    """Implements `Runner`.

    `fail_next` names the calls ("load", "copy", "forward", "zero") that raise when next made. Prefixes whose digest is
    in `failing_prefixes` do not load. Once `is_dead`, it computes nothing any more. `references` lets it check that it
    writes only into blocks held exactly once. Whatever was read or written wrongly is in `violations`.
    """

    num_blocks: int
    block_size: int
    max_batch_tokens: int = 1 << 30
    max_num_seqs: int = 1 << 30
    max_logits: int = 1 << 30
    references: Callable[[int], int] | None = None
    fail_next: set[str] = field(default_factory=set)
    failing_prefixes: set[str] = field(default_factory=set)
    is_dead: bool = False
    violations: list[str] = field(default_factory=list)
    batches: list[tuple[int, ...]] = field(default_factory=list)
    loads: list[tuple[int, ...]] = field(default_factory=list)
    num_copies: int = 0
    on_forward: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._cells: list[list[Cell | None]] = [[None] * self.block_size for _ in range(self.num_blocks)]

    def load_prefixes(self, placements: Sequence[PrefixPlacement]) -> tuple[BaseException | None, ...]:
        failing = "load" in self.fail_next
        sizes = tuple(placement.prefix.num_virtual_tokens for placement in placements)
        self.loads.append(sizes)
        is_bounded = len(sizes) == 1 or sum(sizes) <= self.max_batch_tokens
        self._require(is_bounded, f"prefixes of {sizes} tokens are loaded at once")
        for placement in placements:
            bad = failing or placement.prefix.digest in self.failing_prefixes
            self._require(len(set(placement.blocks)) == len(placement.blocks), "a prefix owns a block twice")
            for position in range(placement.prefix.num_virtual_tokens):
                history = prefix_history(placement.prefix, position)
                before = prefix_history(placement.prefix, position - 1) if position else text_root()
                self._write(placement.blocks, position, Cell(history, before, position, is_nan=bad))
        self._raise_if_asked("load")
        return tuple(
            NonFiniteValues("the prefix is not finite") if self._has_nan(placement.blocks) else None
            for placement in placements
        )

    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        self._raise_if_asked("copy")
        for copy in copies:
            self.num_copies += 1
            self._require_owned(copy.target)
            self._cells[copy.target][: copy.num_slots] = self._cells[copy.source][: copy.num_slots]

    def zero_blocks(self, blocks: Sequence[int]) -> None:
        self._raise_if_asked("zero")
        for block in blocks:
            self._cells[block] = [None] * self.block_size

    def check_device(self) -> None:
        if self.is_dead:
            raise InjectedFailure("the device is dead")

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        self.on_forward()
        self.check_device()
        sizes = tuple(chunk.num_tokens for chunk in chunks)
        self.batches.append(sizes)
        self._require(sum(sizes) <= self.max_batch_tokens, f"a step of {sum(sizes)} tokens")
        self._require(len(sizes) <= self.max_num_seqs, f"a step of {len(sizes)} sequences")
        num_logits = sum(chunk.num_logits for chunk in chunks)
        self._require(num_logits <= self.max_logits, f"a step of {num_logits} rows of logits")
        self._require(min(sizes) > 0, "an empty chunk")
        failing = "forward" in self.fail_next
        histories = [self._store(chunk, failing) for chunk in chunks]
        self._raise_if_asked("forward")
        rows: list[list[float]] = []
        for chunk, after in zip(chunks, histories, strict=True):
            is_nan = self._has_nan(self._gathered(chunk))  # NaN in a masked slot too: zero times NaN is NaN
            for history in after[len(after) - chunk.num_logits :]:
                rows.append([float("nan")] * VOCAB_SIZE if is_nan else scripted_logits(history))
        return torch.tensor(rows).reshape(len(rows), VOCAB_SIZE)

    def _store(self, chunk: Chunk, failing: bool) -> list[History]:
        """Check everything before the chunk, write its cells, and return the history after each of its tokens."""
        assert not isinstance(chunk.tokens, torch.Tensor)
        history = self._read_back(chunk)
        after = []
        for position, token in enumerate(chunk.tokens, start=chunk.start):
            before, history = history, next_history(history, token)
            self._write(chunk.block_table, position, Cell(history, before, position, failing or token == NAN_TOKEN))
            after.append(history)
        return after

    def _read_back(self, chunk: Chunk) -> History:
        """The history that the block table holds before the chunk."""
        history = text_root()
        for position in range(chunk.start):
            block, slot = divmod(position, self.block_size)
            cell = self._cells[chunk.block_table[block]][slot]
            where = f"position {position} (block {chunk.block_table[block]}, slot {slot})"
            if cell is None or cell.position != position or cell.before != history:
                self._require(False, f"{where} holds {cell}, not what follows {history}")
                return hash((history, position, "lost"))
            history = cell.history
        return history

    def _write(self, table: Sequence[int], position: int, cell: Cell) -> None:
        block, slot = divmod(position, self.block_size)
        self._require_owned(table[block])
        self._cells[table[block]][slot] = cell

    def _gathered(self, chunk: Chunk) -> Sequence[int]:
        return chunk.block_table[: -(-(chunk.start + chunk.num_tokens) // self.block_size)]

    def _has_nan(self, blocks: Sequence[int]) -> bool:
        return any(cell is not None and cell.is_nan for block in blocks for cell in self._cells[block])

    def _require_owned(self, block: int) -> None:
        self._require(block != 0, "the padding block was written")
        if self.references is not None:
            count = self.references(block)
            self._require(count == 1, f"block {block}, held {count} times, was written")

    def _require(self, is_true: bool, violation: str) -> None:
        if not is_true:
            self.violations.append(violation)

    def _raise_if_asked(self, call: str) -> None:
        if call in self.fail_next:
            self.fail_next.discard(call)
            raise InjectedFailure(call)


# --- an engine over it ------------------------------------------------------------------------------------------------


def make_options(**changes: int | frozenset[int]) -> EngineOptions:
    """Roomy options over blocks of four tokens; a test names what it wants otherwise."""
    values: dict[str, int | frozenset[int]] = {
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
        self.engine = Engine(self.runner, self.options)
        self.scheduler = self.engine._scheduler
        self.runner.references = self.scheduler.blocks.references
        self.requests: dict[str, Request] = {}
        self.events: dict[str, list[EngineEvent]] = {}

    def add(self, request: Request) -> list[EngineEvent]:
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

    def check_books(self) -> None:
        """Assert that blocks, leases and queues say the same, and that nothing was read or written wrongly."""
        scheduler, runner = self.scheduler, self.runner
        assert runner.violations == []
        scheduler.blocks.check()
        running = list(scheduler._running)
        resident = list(scheduler.residency._resident.values())
        held = [0] * self.options.num_blocks
        for sequence in running:
            for block in sequence.own_blocks:
                held[block] += 1
        for entry in resident:
            for block in entry.blocks:
                held[block] += 1
        assert held == [0, *(scheduler.blocks.references(block) for block in range(1, len(held)))]
        for entry in resident:
            assert entry.num_leases == sum(sequence.lease is entry for sequence in running)
        assert scheduler.residency.num_blocks == sum(len(entry.blocks) for entry in resident)
        assert scheduler.residency.num_blocks <= self.options.max_prefix_blocks
        for sequence in running:
            assert (sequence.lease is None) == (sequence.prefix is None)
        waiting = [sequence for queue in scheduler._waiting.values() for sequence in queue]
        assert not any(sequence.lease or sequence.block_table or sequence.num_computed for sequence in waiting)
        assert len(running) <= self.options.max_num_seqs
        self._check_requests({*running, *waiting})
        open_of_task: dict[str, int] = {}
        for sequence in (*running, *waiting):
            open_of_task[sequence.task] = open_of_task.get(sequence.task, 0) + 1
        assert scheduler._counters._num_open == open_of_task

    def _check_requests(self, known: set[object]) -> None:
        """Every open request has a sequence that runs or waits; every closed one ended in one terminal event."""
        groups = self.engine._groups
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
        while self.scheduler.residency.evict_idle():
            pass
        assert self.scheduler.residency.num_resident == 0
        assert self.engine.stats.num_free_blocks == self.options.num_blocks - 1


# --- what a request yields alone --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AloneChoice:
    """One choice computed alone, straight from the script: no engine, no cache."""

    tokens: tuple[int, ...]
    finish_reason: FinishReason | None  # None: its next step would be NaN


def alone_fails(request: Request) -> bool:
    """Whether the prompt itself is NaN."""
    return NAN_TOKEN in request.prompt_token_ids


def alone_choice(request: GenerateRequest, choice: int) -> AloneChoice:
    """Generate without an engine. The request must carry a seed or be greedy."""
    sampling = request.sampling
    tokens: list[int] = []
    if NAN_TOKEN in request.prompt_token_ids:
        return AloneChoice((), None)
    while len(tokens) < sampling.max_tokens:
        logits = torch.tensor(scripted_logits(history_of(request.prefix, [*request.prompt_token_ids, *tokens])))
        token = sample_row(logits, _alone_row(request, choice, tokens))
        tokens.append(token)
        if token in sampling.stop_token_ids or (token == EOS and not sampling.ignore_eos):
            return AloneChoice(tuple(tokens), FinishReason.STOP)
        if token == NAN_TOKEN and len(tokens) < sampling.max_tokens:
            return AloneChoice(tuple(tokens), None)
    return AloneChoice(tuple(tokens), FinishReason.LENGTH)


def alone_logprobs(prefix: Prefix | None, prompt: Sequence[int], given: Sequence[int]) -> list[float]:
    """Log-probabilities of given tokens after a prompt."""
    answer, tokens = [], list(prompt)
    for token in given:
        row = torch.tensor(scripted_logits(history_of(prefix, tokens))).log_softmax(-1)
        answer.append(float(row[token]))
        tokens.append(token)
    return answer


def _alone_row(request: GenerateRequest, choice: int, output: list[int]) -> SamplingRow:
    sampling = request.sampling
    ends = sampling.stop_token_ids | (frozenset() if sampling.ignore_eos else {EOS})
    return SamplingRow(
        0,
        sampling,
        sampling.seed or 0,
        choice=choice,
        num_output=len(output),
        prompt=request.prompt_token_ids,
        output=output,
        forbidden=frozenset(ends) if len(output) < sampling.min_tokens else frozenset(),
    )


# --- reading and making -----------------------------------------------------------------------------------------------


def tokens_of(events: Sequence[EngineEvent], choice: int = 0) -> tuple[int, ...]:
    """The tokens of one choice."""
    return tuple(event.token_id for event in events if isinstance(event, TokenEvent) and event.choice == choice)


def reason_of(events: Sequence[EngineEvent], choice: int = 0) -> FinishReason | None:
    """Why a choice ended, or None."""
    for event in events:
        if isinstance(event, TokenEvent | ChoiceFinished) and event.choice == choice and event.finish_reason:
            return event.finish_reason
    return None


def prompt_event(events: Sequence[EngineEvent]) -> PromptProcessed:
    """The one event that says the prompt is processed."""
    (event,) = [event for event in events if isinstance(event, PromptProcessed)]
    return event


def is_nan(cause: BaseException) -> bool:
    """Whether a request failed because the model answered it with NaN, said by the model layer or by the engine."""
    return isinstance(cause, NonFiniteValues) or isinstance(cause.__cause__, NonFiniteValues)


def text(length: int, seed: int = 0) -> tuple[int, ...]:
    """Harmless prompt tokens: neither the end token nor the NaN token."""
    rng = random.Random(seed)
    return tuple(rng.randrange(1, NAN_TOKEN) for _ in range(length))


def generate(
    name: str,
    prompt: tuple[int, ...] = (1, 2, 3),
    *,
    task: str = "",
    prefix: Prefix | None = None,
    num_choices: int = 1,
    salt: bytes = b"",
    **sampling: object,
) -> GenerateRequest:
    """A greedy request of eight tokens that does not stop early, unless said otherwise."""
    values: dict[str, object] = {
        "max_tokens": 8,
        "temperature": 0.0,
        "ignore_eos": True,
        "logit_bias": ((NAN_TOKEN, -100.0),),
    }
    params = SamplingParams(**(values | sampling))  # type: ignore[arg-type]
    return GenerateRequest(name, task, prompt, params, prefix, num_choices, salt)


def check_answer(request: Request, events: Sequence[EngineEvent]) -> None:
    """Assert that a request which was neither aborted nor disturbed got exactly what it gets alone."""
    last = events[-1]
    if isinstance(request, ScoreRequest):
        _check_scores(request, last)
        return
    alone = [alone_choice(request, choice) for choice in range(request.num_choices)]
    if any(choice.finish_reason is None for choice in alone):
        assert isinstance(last, RequestFailed) and is_nan(last.cause), last
        for number, choice in enumerate(alone):
            got = tokens_of(events, number)
            assert got == choice.tokens[: len(got)]
        return
    assert isinstance(last, RequestFinished), last
    for number, choice in enumerate(alone):
        assert tokens_of(events, number) == choice.tokens
        assert reason_of(events, number) is choice.finish_reason
    _check_prompt_logprobs(request, prompt_event(events))


def _check_scores(request: ScoreRequest, last: EngineEvent) -> None:
    read = [*request.prompt_token_ids, *(token for tokens in request.continuations for token in tokens[:-1])]
    if NAN_TOKEN in read:
        assert isinstance(last, RequestFailed) and is_nan(last.cause), last
        return
    assert isinstance(last, Scored), last
    expected = [sum(alone_logprobs(request.prefix, request.prompt_token_ids, c)) for c in request.continuations]
    assert len(last.logprobs) == len(expected)
    assert all(abs(a - b) < 1e-4 for a, b in zip(last.logprobs, expected, strict=True))


def _check_prompt_logprobs(request: GenerateRequest, event: PromptProcessed) -> None:
    if request.sampling.prompt_logprobs is None:
        assert event.prompt_logprobs == ()
        return
    first, *others = event.prompt_logprobs
    assert first is None
    given = request.prompt_token_ids[1:]
    expected = alone_logprobs(request.prefix, request.prompt_token_ids[:1], given)
    got = [entry for entry in others if entry is not None]
    assert [entry.token_id for entry in got] == list(given)
    assert all(abs(entry.logprob - value) < 1e-4 for entry, value in zip(got, expected, strict=True))
