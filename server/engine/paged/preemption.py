"""Preemption: running sequences give up blocks, slots or leases for another one.

A preempted sequence waits again and is recomputed, from cached blocks where they survive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from server.engine.paged.block_manager import BlockManager
from server.engine.paged.block_tables import BlockTables
from server.engine.paged.options import EngineOptions
from server.engine.paged.sequence import Sequence
from server.engine.paged.step_plan import StepPlan
from server.engine.thread.fairness import TokenCounters
from server.engine.thread.queues import WaitingQueues
from server.soft_prompts.residency import PrefixResidency

_MIN_TURN_TOKENS = 16  # output tokens before a sequence may lose its slot to let another task have a turn


class Preemption:
    """Makes room at the cost of `running`, whose sequences go back to `waiting`. Only the engine thread calls this.

    `take_from_lower` preempts a batch request's sequence. False if none runs.
    """

    def __init__(
        self,
        options: EngineOptions,
        blocks: BlockManager,
        residency: PrefixResidency,
        tables: BlockTables,
        counters: TokenCounters,
        waiting: WaitingQueues[Sequence],
        running: dict[Sequence, None],
        take_from_lower: Callable[[], bool] = lambda: False,
    ) -> None:
        self._options = options
        self._blocks = blocks
        self._residency = residency
        self._tables = tables
        self._counters = counters
        self._waiting = waiting
        self._running = running
        self._take_from_lower = take_from_lower
        self.num_preemptions = 0

    def grow(self, sequence: Sequence, plan: StepPlan) -> bool:
        """Give a decoding sequence the block of its next token. False if it was preempted itself."""
        while self._tables.num_missing(sequence):
            if self._blocks.num_free or self._residency.evict_idle() or self._take_from_lower():
                if self._blocks.num_free:
                    sequence.block_table.append(self._blocks.allocate())
                continue
            held = self._blocks_held()
            victim = self._youngest(max(held, key=lambda task: held[task]))
            self._preempt(victim, plan)
            if victim is sequence:
                return False
        return True

    def of_youngest(self, *, only_leases: bool) -> bool:
        """Preempt the youngest sequence of all, or of those with a lease. False if there is none."""
        candidates = [sequence for sequence in self._running if sequence.lease is not None or not only_leases]
        if not candidates:
            return False
        self._preempt(max(candidates, key=lambda sequence: sequence.age), StepPlan())
        return True

    def for_slot(self, task: str, plan: StepPlan) -> bool:
        """Free a slot for a task below its share of slots, from the task with most, if that is over its share."""
        held = Counter(sequence.task for sequence in self._running)
        share = max(1.0, self._options.max_num_seqs / self._counters.num_busy)
        return self._preempt_largest(held, held[task] + 1, share, plan)

    def for_blocks(self, sequence: Sequence, plan: StepPlan) -> bool:
        """Free blocks for a task that stays within its share, from the task with most, if that is over its share.

        Cached blocks that the newcomer would share count as its own, as they will once it runs. Otherwise it would be
        over its share then, and the two tasks would preempt each other forever.
        """
        held = self._blocks_held()
        wanted = held[sequence.task] + self._tables.num_own(sequence)
        return self._preempt_largest(held, wanted, self._blocks.num_blocks / self._counters.num_busy, plan)

    def _preempt_largest(self, held: Counter[str], wanted: int, share: float, plan: StepPlan) -> bool:
        largest = max(held, key=lambda task: held[task], default=None)
        if largest is None or wanted > share or held[largest] <= share:
            return False
        self._preempt(self._youngest(largest), plan)
        return True

    def for_lease(self, task: str, plan: StepPlan) -> bool:
        """Free the leases of the task most ahead, for a task that waits for room among the prefixes.

        That task must be more than a quantum ahead, and each of its sequences must have had a turn: without one, two
        tasks would take leases from each other before either has computed a prompt.
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
            held[sequence.task] += len(sequence.block_table) - sequence.num_shared_blocks + len(sequence.cross_blocks)
        return held

    def _youngest(self, task: str) -> Sequence:
        candidates = (sequence for sequence in self._running if sequence.task == task)
        return max(candidates, key=lambda sequence: sequence.age)

    def _preempt(self, sequence: Sequence, plan: StepPlan) -> None:
        """Take everything from a running sequence and queue it again."""
        plan.chunks.pop(sequence, None)
        plan.copies.pop(sequence, None)
        del self._running[sequence]
        self._tables.release(sequence)
        self._waiting.add(sequence)
        self.num_preemptions += 1
