"""Who runs next, and with which blocks.

A step first continues every decode, then spends what is left of its token budget on prompts: chunks of running
sequences and newly admitted ones, always of the best priority, and among equals of the task that was served least.
Positions of prefixes that become resident are tokens of the budget, charged to the task that needs them; only a step's
first load may exceed it, so that a long prefix is loaded too.
A prompt that is scored token by token takes a shorter chunk where the step's rows of logits are used up.
Within a task and a priority first come, first served. What runs is not interrupted for a better priority.
Out of blocks, the youngest sequence of the task that holds most is preempted and later recomputed.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field

from server.engine.block_manager import BlockManager
from server.engine.block_tables import BlockTables
from server.engine.fairness import TokenCounters
from server.engine.options import EngineOptions
from server.engine.sequence import Sequence
from server.model.kv_cache import BlockCopy
from server.soft_prompts.residency import PrefixResidency, ResidentPrefix

_MIN_TURN_TOKENS = 16  # output tokens before a sequence may lose its place to let another task have a turn


@dataclass(slots=True)
class StepPlan:
    """One step: prefixes to load, then blocks to copy, then how many tokens of each sequence to compute."""

    chunks: dict[Sequence, int] = field(default_factory=dict)
    copies: dict[Sequence, BlockCopy] = field(default_factory=dict)
    loads: tuple[ResidentPrefix, ...] = ()
    num_load_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        """Tokens that the step computes."""
        return sum(self.chunks.values())


class Scheduler:
    """The queues, and the hold of each sequence on blocks and prefixes. Only the engine thread calls this."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self.blocks = BlockManager(options.num_blocks, options.block_size)
        self.residency = PrefixResidency(self.blocks, options.block_size, options.max_prefix_blocks)
        self._tables = BlockTables(self.blocks, self.residency)
        self._counters = TokenCounters()
        self._waiting: dict[str, deque[Sequence]] = {}
        self._running: dict[Sequence, None] = {}
        self.num_preemptions = 0

    @property
    def num_waiting(self) -> int:
        """Sequences in the queues."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def num_running(self) -> int:
        """Sequences that hold blocks."""
        return len(self._running)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running or self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence at its request's place."""
        self._counters.open(sequence.task)
        self._enqueue(sequence)

    def remove(self, sequence: Sequence) -> None:
        """A sequence has ended, wherever it was: its blocks and its lease come back."""
        if sequence in self._running:
            self._stop(sequence)
        else:
            queue = self._waiting[sequence.task]
            queue.remove(sequence)
            if not queue:
                del self._waiting[sequence.task]
        self._counters.close(sequence.task)

    def fork(self, parent: Sequence, child: Sequence) -> BlockCopy | None:
        """Start `child`, whose tokens begin with what `parent` has computed, on the parent's blocks.

        Full blocks are shared; a part-filled last one must be copied before the next step, as the answer says. Without
        room the child is queued instead and computed like any other.
        """
        if len(self._running) >= self._options.max_num_seqs or not self._tables.can_fork(parent):
            self.add(child)
            return None
        self._counters.open(child.task)
        self._running[child] = None
        return self._tables.fork(parent, child)

    def schedule(self) -> StepPlan:
        """Plan the next step; every planned sequence has the blocks it needs."""
        plan = StepPlan()
        self._plan_decodes(plan)
        self._plan_prompts(plan)
        plan.loads = self.residency.take_pending()
        return plan

    def commit(self, sequence: Sequence, num_tokens: int) -> None:
        """A step has computed tokens of a sequence."""
        self._tables.commit(sequence, num_tokens)

    # --- a step's plan ------------------------------------------------------------------------------------------------

    def _plan_decodes(self, plan: StepPlan) -> None:
        for sequence in list(self._running):
            if sequence in self._running and sequence.num_remaining == 1 and self._grow(sequence, plan):
                self._plan_chunk(plan, sequence, 1)

    def _plan_prompts(self, plan: StepPlan) -> None:
        budget, num_rows = self._options.max_batch_tokens - plan.num_tokens, self._options.max_scored_rows
        unfinished: dict[str, deque[Sequence]] = {}
        for running in self._running:
            if running not in plan.chunks and running.num_remaining > 1:
                unfinished.setdefault(running.task, deque()).append(running)
        order = [self._turn(task, unfinished) for task in {*unfinished, *self._waiting}]
        heapq.heapify(order)
        bar: float = float("inf")
        while budget > 0 and order:
            _, served, _, task = heapq.heappop(order)
            num_load_tokens = plan.num_load_tokens
            sequence = self._next_unfinished(unfinished.get(task), plan)
            if sequence is None and task in self._waiting and served <= bar:
                head = self._waiting[task][0]
                if num_load_tokens and self.residency.num_load_tokens(head.prefix) >= budget:
                    continue  # the next step has room: its first load
                sequence = self._admit(head, plan)
                if sequence is None:
                    bar = min(bar, self._bar_behind(head))
            budget -= plan.num_load_tokens - num_load_tokens
            if sequence is None:
                continue
            num_tokens = min(sequence.num_remaining, max(budget, 1))
            if sequence.num_unscored is not None:
                num_tokens = min(num_tokens, sequence.num_unscored + 1 + num_rows)
                num_rows -= max(0, num_tokens - sequence.num_unscored - 1)
            self._plan_chunk(plan, sequence, num_tokens)
            budget -= num_tokens
            if unfinished.get(task) or task in self._waiting:
                heapq.heappush(order, self._turn(task, unfinished))

    def _bar_behind(self, head: Sequence) -> float:
        """Up to which counter others may be admitted past a sequence that waits: a quantum ahead of its task.

        Once it has waited for blocks or a lease while others were served a quantum, and its task has nothing running,
        nobody passes: tasks that come new start level with it, and would take what it waits for without end.
        """
        quantum = self._options.fair_quantum
        since = head.waits_for_room_since
        is_starved = since is not None and self._counters.total - since > quantum
        if is_starved and not any(running.task == head.task for running in self._running):
            return -1
        return self._counters.served(head.task) + quantum

    def _turn(self, task: str, unfinished: dict[str, deque[Sequence]]) -> tuple[int, int, int, str]:
        """The order of tasks: best priority, then least served, then whose first sequence came first."""
        head = (unfinished.get(task) or self._waiting[task])[0]
        return head.group.request.priority, self._counters.served(task), head.group.arrival, task

    def _next_unfinished(self, queue: deque[Sequence] | None, plan: StepPlan) -> Sequence | None:
        """The task's next running prompt that still runs: room made for others may have preempted it."""
        while queue:
            sequence = queue.popleft()
            if sequence in self._running and sequence not in plan.chunks and self._grow(sequence, plan):
                return sequence
        return None

    def _plan_chunk(self, plan: StepPlan, sequence: Sequence, num_tokens: int) -> None:
        plan.chunks[sequence] = num_tokens
        self._counters.charge(sequence.task, num_tokens)

    # --- admission ----------------------------------------------------------------------------------------------------

    def _admit(self, sequence: Sequence, plan: StepPlan) -> Sequence | None:
        """Move a waiting sequence to the running ones with blocks for all its tokens; None where there is no room."""
        task = sequence.task
        if len(self._running) >= self._options.max_num_seqs and not self._preempt_for_slot(task, plan):
            return None
        if sequence.waits_for_room_since is None:
            sequence.waits_for_room_since = self._counters.total
        lease = None
        if sequence.prefix is not None and (lease := self._take_lease(sequence, plan)) is None:
            return None
        self._tables.open(sequence, lease)
        if not self._make_room(sequence, plan):
            self._tables.release(sequence)
            return None
        copy = self._tables.fill(sequence)
        if copy is not None:
            plan.copies[sequence] = copy
        queue = self._waiting[task]
        queue.remove(sequence)  # the head, unless a preempted sequence of this very task was put before it
        if not queue:
            del self._waiting[task]
        self._running[sequence] = None
        sequence.num_turn_start, sequence.waits_for_room_since = len(sequence.tokens), None
        if sequence.group.num_cached_tokens is None:
            sequence.group.num_cached_tokens = sequence.num_computed
        return sequence

    def _take_lease(self, sequence: Sequence, plan: StepPlan) -> ResidentPrefix | None:
        prefix = sequence.prefix
        assert prefix is not None
        num_tokens = self.residency.num_load_tokens(prefix)
        while (lease := self.residency.acquire(prefix)) is None:
            if self.residency.can_admit(prefix):  # the budget allows it: blocks are short
                made_room = self._preempt_for_blocks(sequence, plan)
            else:
                made_room = self._preempt_for_lease(sequence.task, plan)
            if not made_room:
                return None
        if num_tokens:
            plan.num_load_tokens += num_tokens
            self._counters.charge(sequence.task, num_tokens)
        return lease

    def _make_room(self, sequence: Sequence, plan: StepPlan) -> bool:
        """Free the blocks that a sequence lacks, and some more, so that those who run can grow."""
        needed = self._tables.num_missing(sequence)
        reserve = min(len(self._running), self.blocks.num_blocks // 16)
        while self.blocks.num_free < needed + reserve:
            if not (self.residency.evict_idle() or self._preempt_for_blocks(sequence, plan)):
                return False
        return True

    # --- room ---------------------------------------------------------------------------------------------------------

    def _grow(self, sequence: Sequence, plan: StepPlan) -> bool:
        """Give a decoding sequence its next slot; False if it was itself the one to be preempted."""
        while self._tables.num_missing(sequence):
            if self.blocks.num_free or self.residency.evict_idle():
                sequence.block_table.append(self.blocks.allocate())
                continue
            held = self._blocks_held()
            victim = self._youngest(max(held, key=lambda task: held[task]))
            self._preempt(victim, plan)
            if victim is sequence:
                return False
        return True

    def _preempt_for_slot(self, task: str, plan: StepPlan) -> bool:
        """Free a place for a task below its share of places, from the task that has most, if that is over its share."""
        held = Counter(sequence.task for sequence in self._running)
        share = max(1.0, self._options.max_num_seqs / self._counters.num_busy)
        return self._preempt_largest(held, held[task] + 1, share, plan)

    def _preempt_for_blocks(self, sequence: Sequence, plan: StepPlan) -> bool:
        """Free blocks for a task that keeps within its share of blocks, from the one that has most, if that is over.

        Cached blocks that the newcomer would share count as its own, as they will once it runs: it must not be over
        its share then, or the two tasks would preempt each other for ever.
        """
        held = self._blocks_held()
        wanted = held[sequence.task] + self._tables.num_own(sequence)
        return self._preempt_largest(held, wanted, self.blocks.num_blocks / self._counters.num_busy, plan)

    def _preempt_largest(self, held: Counter[str], wanted: int, share: float, plan: StepPlan) -> bool:
        largest = max(held, key=lambda task: held[task], default=None)
        if largest is None or wanted > share or held[largest] <= share:
            return False
        self._preempt(self._youngest(largest), plan)
        return True

    def _preempt_for_lease(self, task: str, plan: StepPlan) -> bool:
        """Free the leases of a task far ahead of one that waits for room among the prefixes.

        Only once each of its sequences has had a turn: tasks that took leases from each other before a prompt is
        computed would recompute for ever.
        """
        bar = self._counters.served(task) + self._options.fair_quantum
        holders = [sequence for sequence in self._running if sequence.lease is not None]
        in_turn = {sequence.task for sequence in holders if sequence.num_turn_tokens < _MIN_TURN_TOKENS}
        ahead = max({sequence.task for sequence in holders} - in_turn, key=self._counters.served, default=None)
        if ahead is None or self._counters.served(ahead) <= bar:
            return False
        while any(sequence.task == ahead for sequence in self._running):
            self._preempt(self._youngest(ahead), plan)
        return True

    def _blocks_held(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for sequence in self._running:
            held[sequence.task] += len(sequence.block_table) - sequence.num_shared_blocks
        return held

    def _youngest(self, task: str) -> Sequence:
        candidates = (sequence for sequence in self._running if sequence.task == task)
        return max(candidates, key=_age)

    def _preempt(self, sequence: Sequence, plan: StepPlan) -> None:
        """Take everything from a running sequence; it will be recomputed, from cached blocks where they survive."""
        plan.chunks.pop(sequence, None)
        plan.copies.pop(sequence, None)
        self._stop(sequence)
        self._enqueue(sequence)
        self.num_preemptions += 1

    def _enqueue(self, sequence: Sequence) -> None:
        """First come, first served, whether it comes new, as a fork or back from preemption."""
        queue = self._waiting.setdefault(sequence.task, deque())
        if not queue or _age(queue[-1]) < _age(sequence):
            queue.append(sequence)
        else:
            queue.insert(next(i for i, other in enumerate(queue) if _age(other) > _age(sequence)), sequence)

    def _stop(self, sequence: Sequence) -> None:
        del self._running[sequence]
        self._tables.release(sequence)


def _age(sequence: Sequence) -> tuple[int, int, int]:
    """The order within a task: by priority, requests as they came, and their choices."""
    return sequence.group.request.priority, sequence.group.arrival, sequence.choice
