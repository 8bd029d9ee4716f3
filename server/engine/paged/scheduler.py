"""The sequences of the next step, and their blocks.

A step first continues every decode, then spends the rest of its token budget on prompts: chunks of running sequences
and newly admitted ones. The best priority comes first, and among equals the task that was served least. A decode whose
mask is late sits out (`form_rows.py`).
Positions of prefixes that become resident, and inputs of an encoder, count against the budget and are charged to the
task that needs them. Only the first load of a step may exceed it, so that a long prefix is loaded too.
A prompt that is scored token by token takes a shorter chunk once the step's rows of logits are used up.
Within a task and a priority, the order is first come, first served. A better priority does not interrupt a sequence
that runs. Without a free block, the youngest sequence of the task that holds most is preempted and later recomputed.

Batch requests have a scheduler of their own over the same blocks (`lower`): its sequences run in steps of their own,
and are preempted before any other.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from server.engine.paged.block_manager import BlockManager
from server.engine.paged.block_tables import BlockTables
from server.engine.paged.options import EngineOptions
from server.engine.paged.preemption import Preemption
from server.engine.paged.sequence import Sequence
from server.engine.paged.step_plan import StepPlan
from server.engine.thread.fairness import TokenCounters
from server.engine.thread.queues import WaitingQueues
from server.model.kv_cache import BlockCopy
from server.soft_prompts.residency import PrefixResidency, ResidentPrefix


class Scheduler:
    """Plans steps, and gives sequences blocks and leases on prefixes. Only the engine thread calls this."""

    def __init__(self, options: EngineOptions, lower: Scheduler | None = None) -> None:
        self._options = options
        self._lower = lower
        self.blocks: BlockManager = (
            BlockManager(options.num_blocks, options.block_size) if lower is None else lower.blocks
        )
        self.residency: PrefixResidency = _residency(options, self.blocks) if lower is None else lower.residency
        self._tables = BlockTables(self.blocks, self.residency)
        self.counters = TokenCounters()
        self.num_cached_tokens = 0  # prompt tokens found in the prefix cache so far
        self._waiting: WaitingQueues[Sequence] = WaitingQueues()
        self._running: dict[Sequence, None] = {}
        self._preemption = Preemption(
            options, self.blocks, self.residency, self._tables, self.counters, self._waiting, self._running,
            self._take_from_lower,
        )  # fmt: skip

    @property
    def running(self) -> Iterable[Sequence]:
        """The sequences that hold blocks."""
        return self._running

    @property
    def waiting(self) -> WaitingQueues[Sequence]:
        """The sequences in the queues."""
        return self._waiting

    @property
    def num_waiting(self) -> int:
        """Sequences in the queues."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences that hold blocks."""
        return len(self._running)

    @property
    def num_preemptions(self) -> int:
        """Sequences that lost their blocks to others so far."""
        return self._preemption.num_preemptions

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running or self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence at its request's place."""
        self.counters.open(sequence.task)
        self._waiting.add(sequence)

    def remove(self, sequence: Sequence) -> None:
        """A sequence has ended, running or waiting: take its blocks and its lease back."""
        if sequence in self._running:
            self._stop(sequence)
        else:
            self._waiting.remove(sequence)
        self.counters.close(sequence.task)

    def fork(self, parent: Sequence, child: Sequence) -> BlockCopy | None:
        """Start `child`, whose tokens begin with what `parent` has computed, on the parent's blocks.

        Full blocks are shared. A part-filled last block must be copied before the next step; returns that copy. Without
        room the child is queued and computed like any other.
        """
        if len(self._running) >= self._options.max_num_seqs or not self._tables.can_fork(parent):
            self.add(child)
            return None
        self.counters.open(child.task)
        self._running[child] = None
        return self._tables.fork(parent, child)

    def give_up(self, *, only_leases: bool) -> bool:
        """Put the youngest running sequence back into its queue, for a request of a higher scheduler.

        `only_leases` chooses among those with a lease. False if there is none.
        """
        return self._preemption.of_youngest(only_leases=only_leases)

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
            if sequence not in self._running or sequence.num_remaining != 1 or sequence.sits_out:
                continue
            if self._preemption.grow(sequence, plan):
                self._plan_chunk(plan, sequence, 1)

    def _plan_prompts(self, plan: StepPlan) -> None:
        budget, num_rows = self._options.max_batch_tokens - plan.num_tokens, self._options.max_scored_rows
        unfinished: dict[str, deque[Sequence]] = {}
        for running in self._running:
            if running not in plan.chunks and running.num_remaining > 1:
                unfinished.setdefault(running.task, deque()).append(running)
        order = [self._turn(task, unfinished) for task in {*unfinished, *self._waiting.tasks}]
        heapq.heapify(order)
        bar: float = float("inf")
        while budget > 0 and order:
            _, served, _, task = heapq.heappop(order)
            num_load_tokens = plan.num_load_tokens
            sequence = self._next_unfinished(unfinished.get(task), plan)
            if sequence is None and self._waiting.has(task) and served <= bar:
                head = self._waiting.head(task)
                num_first = self.residency.num_load_tokens(head.prefix) + head.num_encoder_tokens
                if num_load_tokens and num_first >= budget:
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
            if unfinished.get(task) or self._waiting.has(task):
                heapq.heappush(order, self._turn(task, unfinished))

    def _bar_behind(self, head: Sequence) -> float:
        """Highest token counter at which another task may be admitted before this waiting sequence.

        It is the counter of the sequence's task plus one quantum; -1 once the sequence is starved. It is starved when
        more than a quantum was served since it first found no room, and its task has nothing running. New tasks start
        level with it: they would take its blocks or lease forever.
        """
        quantum = self._options.fair_quantum
        since = head.waits_for_room_since
        is_starved = since is not None and self.counters.total - since > quantum
        if is_starved and not any(running.task == head.task for running in self._running):
            return -1
        return self.counters.served(head.task) + quantum

    def _turn(self, task: str, unfinished: dict[str, deque[Sequence]]) -> tuple[int, int, int, str]:
        """The order of tasks: best priority, then least served, then earliest first sequence."""
        queue = unfinished.get(task)
        head = queue[0] if queue else self._waiting.head(task)
        return head.group.request.priority, self.counters.served(task), head.group.arrival, task

    def _next_unfinished(self, queue: deque[Sequence] | None, plan: StepPlan) -> Sequence | None:
        """The task's next unfinished prompt that still runs: room made for others may have preempted it."""
        while queue:
            sequence = queue.popleft()
            if sequence in self._running and sequence not in plan.chunks and self._preemption.grow(sequence, plan):
                return sequence
        return None

    def _plan_chunk(self, plan: StepPlan, sequence: Sequence, num_tokens: int) -> None:
        plan.chunks[sequence] = num_tokens
        self.counters.charge(sequence.task, num_tokens)

    # --- admission ----------------------------------------------------------------------------------------------------

    def _admit(self, sequence: Sequence, plan: StepPlan) -> Sequence | None:
        """Move a waiting sequence to the running ones, with blocks for all its tokens. None if there is no room."""
        task = sequence.task
        if len(self._running) >= self._options.max_num_seqs and not self._preemption.for_slot(task, plan):
            return None
        if sequence.waits_for_room_since is None:
            sequence.waits_for_room_since = self.counters.total
        lease = None
        if sequence.prefix is not None and (lease := self._take_lease(sequence, plan)) is None:
            return None
        self._tables.open(sequence, lease)
        if not self._make_room(sequence, plan):
            self._tables.release(sequence)
            return None
        plan.num_load_tokens += sequence.num_encoder_tokens
        self.counters.charge(sequence.task, sequence.num_encoder_tokens)
        copy = self._tables.fill(sequence)
        if copy is not None:
            plan.copies[sequence] = copy
        self._waiting.remove(sequence)  # the head, unless a preempted sequence of this very task was put before it
        self._running[sequence] = None
        sequence.num_turn_start, sequence.waits_for_room_since = len(sequence.tokens), None
        if sequence.group.num_cached_tokens is None:
            sequence.group.num_cached_tokens = sequence.num_computed
            self.num_cached_tokens += sequence.num_computed
        return sequence

    def _take_lease(self, sequence: Sequence, plan: StepPlan) -> ResidentPrefix | None:
        prefix = sequence.prefix
        assert prefix is not None
        num_tokens = self.residency.num_load_tokens(prefix)
        while (lease := self.residency.acquire(prefix)) is None:
            if self.residency.can_admit(prefix):  # the budget allows it: blocks are short
                made_room = self._take_from_lower() or self._preemption.for_blocks(sequence, plan)
            else:
                made_room = self._take_from_lower(only_leases=True) or self._preemption.for_lease(sequence.task, plan)
            if not made_room:
                return None
        if num_tokens:
            plan.num_load_tokens += num_tokens
            self.counters.charge(sequence.task, num_tokens)
        lease.task = sequence.task
        return lease

    def _make_room(self, sequence: Sequence, plan: StepPlan) -> bool:
        """Free the blocks that a sequence lacks, and a reserve from which running sequences can grow."""
        reserve = min(len(self._running), self.blocks.num_blocks // 16)
        # Counted anew: a preempted sibling may give up the encoder's output that both would have read.
        while self.blocks.num_free < self._tables.num_to_start(sequence) + reserve:
            if self.residency.evict_idle() or self._take_from_lower():
                continue
            if not self._preemption.for_blocks(sequence, plan):
                return False
        return True

    def _take_from_lower(self, *, only_leases: bool = False) -> bool:
        return self._lower is not None and self._lower.give_up(only_leases=only_leases)

    def _stop(self, sequence: Sequence) -> None:
        del self._running[sequence]
        self._tables.release(sequence)


def _residency(options: EngineOptions, blocks: BlockManager) -> PrefixResidency:
    return PrefixResidency(blocks, options.block_size, options.max_prefix_blocks)
