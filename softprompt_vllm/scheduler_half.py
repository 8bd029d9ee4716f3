"""The half of the connector in vLLM's scheduler: it decides on each request once, and plans the workers' step.

A request that is refused takes vLLM's asynchronous path: it waits for a load, the workers report the load as failed,
and vLLM ends this request alone with the finish reason "error". This also holds with several KV cache groups, where
vLLM takes no other report of a failure.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softprompt_vllm.admission import read_claim
from softprompt_vllm.cache_layout import CacheLayout
from softprompt_vllm.claims import Claim, Purpose
from softprompt_vllm.errors import InvalidPrefixFile, Refused
from softprompt_vllm.plan import BlockIds, Capture, Load, StepPlan, WorkerReport
from softprompt_vllm.prefix_file import PrefixHeader, path_of, read_header
from softprompt_vllm.residency import Residency
from softprompt_vllm.settings import Settings

logger = logging.getLogger(__name__)

Match = tuple[int | None, bool]
"""Positions that the connector brings beyond those computed (None: ask again), and whether the request waits for it."""


@dataclass(slots=True)
class Verdict:
    """What was decided about an open request. `refusal` is the reason, empty if it is served.

    `is_waiting` says that its next load waits for a file. `is_capturing` says that this request fills the entry of
    its digest, up to position `num_planned` so far.
    """

    claim: Claim | None
    refusal: str = ""
    is_waiting: bool = False
    is_capturing: bool = False
    num_planned: int = 0


class SchedulerHalf:
    """Verdicts by request id, and the plan of the next step. Only vLLM's scheduler calls this."""

    def __init__(self, settings: Settings, layout: CacheLayout, num_workers: int) -> None:
        self._settings = settings
        self._layout = layout
        self._verdicts: dict[str, Verdict] = {}  # of requests that name a soft prompt
        self._capturing: dict[str, str] = {}  # digest: id of the request that captures it
        self._headers: dict[str, PrefixHeader] = {}
        self._plan = StepPlan()
        self.residency = Residency(settings.max_host_bytes, num_workers)

    def add(self, request: Any) -> None:
        """Decide on a new request."""
        self._verdict(request)

    def match(self, request: Any, num_computed: int) -> Match:
        """Say how many positions beyond `num_computed` come from the soft prompt, and whether the request waits."""
        verdict = self._verdict(request)
        if verdict is None:
            return 0, False
        try:
            return self._match(request, verdict, num_computed)
        except Refused as error:
            return self._refuse(request, verdict, num_computed, str(error))
        except Exception:  # one that reaches the scheduler would end the engine
            logger.exception("the soft prompt of request %s", request.request_id)
            return self._refuse(request, verdict, num_computed, "an error in the connector; see the log")

    def allocate(self, request: Any, block_ids: BlockIds, num_external: int) -> None:
        """Plan the load of a request that has its blocks now."""
        verdict = self._verdicts.get(request.request_id)
        if verdict is None or num_external == 0:
            return
        if verdict.refusal or verdict.claim is None:
            self._plan.refused.append(request.request_id)
            return
        claim = verdict.claim
        start, stop = claim.num_virtual_tokens - num_external, claim.num_virtual_tokens
        if not verdict.is_waiting:
            self.residency.use(claim.digest)
            self._plan.loads.append(Load(claim.digest, start, stop, block_ids))
            return
        num_bytes = self._layout.num_bytes_of(stop)
        entry = self.residency.get(claim.digest)
        entry = entry or self.residency.begin(claim.digest, stop, num_bytes, is_capture=False)
        ticket = None if entry is None or entry.is_ready else entry.ticket
        self._plan.loads.append(Load(claim.digest, start, stop, block_ids, request.request_id, ticket))

    def build(self, scheduled: Mapping[str, tuple[int, int, BlockIds]]) -> StepPlan:
        """Return the plan of this step. `scheduled` has, for each capture in it, first position, count and blocks."""
        for request_id, (start, count, block_ids) in scheduled.items():
            verdict = self._verdicts[request_id]
            claim = verdict.claim
            assert claim is not None
            entry = self.residency.get(claim.digest)
            is_whole = verdict.num_planned == claim.num_virtual_tokens
            if entry is None or is_whole or start > verdict.num_planned:  # with positions missing it is never ready
                continue
            stop = min(start + count, claim.num_virtual_tokens)
            verdict.num_planned = stop
            capture = Capture(claim.digest, claim.num_virtual_tokens, start, stop, block_ids, entry.ticket)
            self._plan.captures.append(capture)
        self._plan.drops = self.residency.take_drops()
        plan, self._plan = self._plan, StepPlan()
        return plan

    def is_capturing(self, request_id: str) -> bool:
        """Whether this request fills the entry of its digest."""
        verdict = self._verdicts.get(request_id)
        return verdict is not None and verdict.is_capturing

    def finish(self, request: Any) -> None:
        """Forget a request that has ended in any way. A capture that was cut off is dropped."""
        verdict = self._verdicts.pop(request.request_id, None)
        if verdict is None or verdict.claim is None:
            return
        digest = verdict.claim.digest
        if not verdict.refusal:
            self.residency.close(digest)
        if self._capturing.get(digest) == request.request_id:
            del self._capturing[digest]
            is_whole = verdict.num_planned == verdict.claim.num_virtual_tokens
            if self.residency.get(digest) is not None and verdict.is_capturing and not is_whole:
                self.residency.drop(digest)

    def report(self, report: WorkerReport) -> None:
        """Take in what the workers finished."""
        if report.failed:
            self._headers.clear()  # a file has changed or gone
        self.residency.report(report.done, report.failed)

    def reset(self) -> bool:
        """Forget what the workers keep, but for what open requests name. Return whether nothing is left."""
        self._headers.clear()
        return self.residency.reset()

    def _verdict(self, request: Any) -> Verdict | None:
        known = self._verdicts.get(request.request_id)
        if known is not None:
            return known
        verdict = self._decide(request)
        if verdict is not None:
            self._verdicts[request.request_id] = verdict
            if verdict.refusal:
                logger.warning("request %s is refused: %s", request.request_id, verdict.refusal)
            elif verdict.claim is not None:
                self.residency.open(verdict.claim.digest)
        return verdict

    def _decide(self, request: Any) -> Verdict | None:
        try:
            claim = read_claim(request, self._settings.capture_key)
            if claim is None:
                return None
            if claim.purpose is Purpose.CAPTURE:
                return self._decide_capture(request, claim)
            self._check_known(claim)
            return Verdict(claim)
        except Refused as error:
            return Verdict(None, str(error))
        except Exception:
            logger.exception("the soft prompt of request %s", request.request_id)
            return Verdict(None, "an error in the connector; see the log")

    def _decide_capture(self, request: Any, claim: Claim) -> Verdict:
        """Let one request capture a digest. Another one runs beside it and captures nothing."""
        num_bytes = self._layout.num_bytes_of(claim.num_virtual_tokens)
        if num_bytes > self.residency.max_bytes:
            raise Refused(f"the soft prompt takes {num_bytes} bytes per worker; raise max_host_bytes to at least this")
        if claim.digest not in self._capturing and self.residency.get(claim.digest) is None:
            self._capturing[claim.digest] = request.request_id
        return Verdict(claim)

    def _check_known(self, claim: Claim) -> None:
        """Raise Refused unless the digest is kept, being captured, or in a file, and has this many virtual tokens."""
        entry = self.residency.get(claim.digest)
        if entry is not None:
            num = entry.num_virtual_tokens
        elif (capturing := self._capturing.get(claim.digest)) is not None:
            captured = self._verdicts[capturing].claim
            assert captured is not None
            num = captured.num_virtual_tokens
        else:
            num = self._header(claim.digest).num_virtual_tokens
        if num != claim.num_virtual_tokens:
            raise Refused("num_virtual_tokens is not the soft prompt's")

    def _header(self, digest: str) -> PrefixHeader:
        if digest not in self._headers:
            if self._settings.folder is None:
                raise Refused("the digest is unknown; capture it first")
            self._headers[digest] = _read_fitting(path_of(self._settings.folder, digest), self._layout)
        return self._headers[digest]

    def _match(self, request: Any, verdict: Verdict, num_computed: int) -> Match:
        if verdict.refusal:
            raise Refused(verdict.refusal)
        claim = verdict.claim
        assert claim is not None
        if claim.purpose is Purpose.CAPTURE:
            return self._match_capture(request, verdict, claim)
        if claim.num_virtual_tokens <= num_computed:
            return 0, False
        entry = self.residency.get(claim.digest)
        if entry is None and claim.digest not in self._capturing:
            self._header(claim.digest)  # or Refused: a cancelled capture is gone
        if claim.digest in self._capturing or (entry is not None and entry.is_capture and not entry.is_ready):
            return None, False
        verdict.is_waiting = entry is None or not entry.is_ready
        return claim.num_virtual_tokens - num_computed, verdict.is_waiting

    def _match_capture(self, request: Any, verdict: Verdict, claim: Claim) -> Match:
        if self._capturing.get(claim.digest) != request.request_id or verdict.is_capturing:
            return 0, False
        num_bytes = self._layout.num_bytes_of(claim.num_virtual_tokens)
        if self.residency.begin(claim.digest, claim.num_virtual_tokens, num_bytes, is_capture=True) is None:
            return None, False  # open requests name all that is kept: wait for one to end
        verdict.is_capturing = True
        return 0, False

    def _refuse(self, request: Any, verdict: Verdict, num_computed: int, reason: str) -> Match:
        if not verdict.refusal:
            logger.warning("request %s is refused: %s", request.request_id, reason)
            verdict.refusal = reason
            if verdict.claim is not None:
                self.residency.close(verdict.claim.digest)
        request.skip_reading_prefix_cache = False  # vLLM would forget the match, and compute the request as text
        return request.num_tokens - num_computed, True


def _read_fitting(path: Path, layout: CacheLayout) -> PrefixHeader:
    """Read the header of a file that fits the model. Raises Refused."""
    try:
        header = read_header(path)
    except InvalidPrefixFile as error:
        raise Refused(f"the digest is unknown or its file unusable: {error}") from error
    found = header.num_layers, header.num_kv_heads, header.head_dim
    if found != (layout.num_layers, layout.num_kv_heads, layout.head_dim):
        raise Refused(
            f"{path} has {found[0]} layers, {found[1]} key-value heads of size {found[2]}; the model has "
            f"{layout.num_layers}, {layout.num_kv_heads} of size {layout.head_dim}"
        )
    return header
