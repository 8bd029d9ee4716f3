"""The requests that have not ended: how they begin, fork, are aborted, fail and end.

Every accepted request ends in exactly one terminal event.
"""

from __future__ import annotations

from collections import abc

from server.engine.events import EngineEvent, RequestFailed, RequestFinished
from server.engine.paged.scheduler import Scheduler
from server.engine.paged.sequence import RequestGroup, Sequence
from server.model.runner import Runner
from server.soft_prompts.residency import ResidentPrefix


class OpenRequests:
    """The groups of the open requests; implements `SequenceControl`. Only the engine thread calls this."""

    def __init__(self, scheduler: Scheduler, batch_scheduler: Scheduler, runner: Runner) -> None:
        self._scheduler = scheduler
        self._batch_scheduler = batch_scheduler
        self._runner = runner
        self._groups: dict[str, RequestGroup] = {}
        self.num_finished = 0
        self.num_aborted = 0
        self.num_failed = 0

    def __iter__(self) -> abc.Iterator[RequestGroup]:
        return iter(list(self._groups.values()))

    def add(self, group: RequestGroup) -> None:
        """Begin a request."""
        self._groups[group.request_id] = group
        self._scheduler_of(group).add(group.sequences[0])

    def abort(self, request_id: str, choice: int | None) -> None:
        """End a request, or one of its choices. Unknown ids and ended choices are ignored.

        A request without choices ends as a whole.
        """
        group = self._groups.get(request_id)
        if group is None or (choice is not None and not group.has_choices):
            return
        for sequence in list(group.sequences):
            if not sequence.is_finished and (choice is None or sequence.choice == choice):
                self._withdraw(sequence)
                group.report_abort(sequence)
        if choice is None:
            self.num_aborted += 1
            self._close(group, RequestFinished())
        elif group.is_complete:
            self.close(group, RequestFinished())

    def fork(self, parent: Sequence, children: abc.Sequence[Sequence]) -> None:
        """See `SequenceControl`."""
        copies = [self._scheduler_of(parent.group).fork(parent, child) for child in children]
        self._runner.zero_blocks(self._scheduler.blocks.take_fresh())
        self._runner.copy_blocks([copy for copy in copies if copy is not None])

    def finish(self, sequence: Sequence) -> None:
        """See `SequenceControl`."""
        sequence.is_finished = True
        self._scheduler_of(sequence.group).remove(sequence)

    def close(self, group: RequestGroup, terminal: EngineEvent) -> None:
        """See `SequenceControl`."""
        self.num_finished += self._close(group, terminal)

    def fail(self, group: RequestGroup, cause: BaseException) -> None:
        """End a request with its cause. Its blocks may hold wrong values: they are never found again."""
        for sequence in group.sequences:
            if sequence.is_finished:
                continue
            if not sequence.is_unforked:
                for block in sequence.own_blocks:
                    self._scheduler.blocks.forget(block)
                self._scheduler_of(group).remove(sequence)
            sequence.is_finished = True
        self.num_failed += self._close(group, RequestFailed(cause))

    def fail_leaseholders(self, entry: ResidentPrefix, cause: BaseException) -> None:
        """End the requests that hold a lease on a prefix."""
        for group in self:
            if any(sequence.lease is entry for sequence in group.sequences):
                self.fail(group, cause)

    def _close(self, group: RequestGroup, terminal: EngineEvent) -> bool:
        """End a request. False if it has ended already."""
        if self._groups.pop(group.request_id, None) is None:
            return False
        group.emit(terminal)
        return True

    def _withdraw(self, sequence: Sequence) -> None:
        """Take an aborted sequence out. The first choice that waits for its prompt computes it instead."""
        if sequence.is_unforked:  # it waits for its parent's prompt and is in no queue
            parent = next(one for one in sequence.group.sequences if sequence in one.pending_forks)
            parent.pending_forks.remove(sequence)
            sequence.is_finished = True
            return
        heirs, sequence.pending_forks = sequence.pending_forks, []
        self.finish(sequence)
        if heirs:
            heirs[0].pending_forks, heirs[0].score_from = heirs[1:], sequence.score_from
            self._scheduler_of(heirs[0].group).add(heirs[0])

    def _scheduler_of(self, group: RequestGroup) -> Scheduler:
        return self._batch_scheduler if group.request.is_batch else self._scheduler
