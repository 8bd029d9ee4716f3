"""A generate request: one sequence of vLLM per choice. The first computes the prompt, the others share its blocks."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from server.engine.errors import NumbersOverflow, StructureFailed
from server.engine.events import (
    ChoiceFinished,
    FinishReason,
    PromptProcessed,
    RequestFinished,
    TokenEvent,
    TokenLogprob,
)
from server.engine.request import Generate
from server.engine.vllm.backend import Output, Ranked
from server.engine.vllm.forms import Forms
from server.engine.vllm.inputs import sampling_inputs
from server.engine.vllm.open_request import OpenRequest
from server.engine.vllm.sequences import Sequence as VllmSequence
from server.structured_outputs.errors import MatcherFailed


class GenerateRequest(OpenRequest):
    """The choices of one prompt. A choice that is open has the matcher of its form, which follows its tokens."""

    def __init__(self, kind: Generate, eos_token_ids: frozenset[int], forms: Forms, *given: Any) -> None:
        super().__init__(*given)
        sampling = kind.sampling
        self._kind = kind
        self._sampling = sampling
        self._seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._end_token_ids = sampling.stop_token_ids | (frozenset() if sampling.ignore_eos else eos_token_ids)
        self._forms = forms
        constraint = kind.constraint
        self._open = {
            choice: None if constraint is None else constraint.matcher(self._end_token_ids)
            for choice in range(kind.num_choices)
        }
        self._running: dict[int, asyncio.Task[None]] = {}
        self._is_prompt_reported = False
        self._may_fork = asyncio.Event()

    def start(self) -> None:
        """See `OpenRequest`."""
        for choice in self._open:
            self._running[choice] = self.run(partial(self._sample, choice))

    def abort(self, choice: int | None) -> None:
        """See `OpenRequest`."""
        for one in [one for one in self._open if choice in (None, one)]:
            del self._open[one]
            self.emit(ChoiceFinished(one, FinishReason.ABORTED))
            self._running[one].cancel()
        self._may_fork.set()
        if choice is None:
            self.abort_all()
        elif not self._open:
            self.emit(RequestFinished())

    async def _sample(self, choice: int) -> None:
        if choice:
            await self._may_fork.wait()
        prompt, num_output = self.request.prompt_token_ids, 0
        given = sampling_inputs(self._sampling, self._end_token_ids, self._seed, choice)
        if self._is_prompt_reported:
            given["prompt_logprobs"] = None
        constraint = self._kind.constraint
        form = None if constraint is None else await self._forms.described(constraint)
        sequence = VllmSequence(self.request, self.arrival, self.arrived_at, prompt, given, form)
        async with aclosing(self.sequences.run(sequence)) as outputs:
            async for output in outputs:
                if output.token_ids and num_output == 0:
                    self._report_prompt(output)
                if self._sampling.max_tokens == 0:
                    self._finish(choice, ChoiceFinished(choice, FinishReason.LENGTH))
                    return
                for place, token in enumerate(output.token_ids):
                    num_output += 1
                    ranked = output.logprobs[place] if output.logprobs else None
                    if self._append(choice, token, ranked, num_output):
                        return

    def _report_prompt(self, output: Output) -> None:
        """The first time that the prompt is computed: emit the event, and let the other choices begin."""
        if self._is_prompt_reported:
            return
        self._is_prompt_reported = True
        wanted = self._sampling.prompt_logprobs
        scores = () if wanted is None else self._prompt_scores(output, wanted)
        self.emit(PromptProcessed(output.num_cached_tokens, scores))
        self._may_fork.set()

    def _prompt_scores(self, output: Output, num_top: int) -> tuple[TokenLogprob | None, ...]:
        pairs = zip(self.request.prompt_token_ids, output.prompt_logprobs, strict=True)
        return tuple(None if ranked is None else _token_logprob(token, ranked, num_top) for token, ranked in pairs)

    def _append(self, choice: int, token: int, ranked: Mapping[int, Ranked] | None, num_output: int) -> bool:
        """Emit a token. Whether it completes the answer's form, after which vLLM would go on."""
        if choice not in self._open:
            return False
        wanted = self._sampling.num_logprobs
        logprob = None if ranked is None or wanted is None else _token_logprob(token, ranked, wanted)
        reason = self._finish_reason(token, num_output)
        is_complete = reason is not FinishReason.STOP and self._completes(choice, token)
        event = TokenEvent(choice, token, logprob, None if is_complete else reason)
        if is_complete:
            self.emit(event)
            self._finish(choice, ChoiceFinished(choice, FinishReason.STOP))
        elif reason is None:
            self.emit(event)
        else:
            self._finish(choice, event)
        return is_complete

    def _completes(self, choice: int, token: int) -> bool:
        """Whether a token completes the form, so that nothing can follow. Raises `StructureFailed` where it is none of
        the form's: vLLM lets every token pass where no token may come."""
        if (matcher := self._open[choice]) is None:
            return False
        try:
            matcher.follow(token)
        except MatcherFailed as error:
            raise StructureFailed(str(error)) from error
        return matcher.is_complete

    def _finish_reason(self, token: int, num_output: int) -> FinishReason | None:
        if token in self._end_token_ids:
            return FinishReason.STOP
        return FinishReason.LENGTH if num_output >= self._sampling.max_tokens else None

    def _finish(self, choice: int, event: TokenEvent | ChoiceFinished) -> None:
        if choice in self._open:
            del self._open[choice]
            self.emit(event)
            if not self._open:
                self.emit(RequestFinished())


def _token_logprob(token: int, ranked: Mapping[int, Ranked], num_top: int) -> TokenLogprob:
    """vLLM's log-probabilities of one place: those of the most likely tokens, and of the token if it is not among them.

    Raises `NumbersOverflow` where the model made no number.
    """
    logprob = ranked[token][0]
    if math.isnan(logprob):
        raise NumbersOverflow("the model made no number of this prompt")
    best: Sequence[tuple[int, Ranked]] = sorted(ranked.items(), key=lambda item: (item[1][1] or len(ranked), item[0]))
    top = tuple((one, value) for one, (value, _) in best[:num_top] if value > -math.inf)  # what a form forbids has none
    return TokenLogprob(token, logprob, top)
