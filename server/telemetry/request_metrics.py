"""Metrics of requests to the engine: numbers, durations and tokens, by task up to a bound."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram

from server.engine.events import Encoded, EngineEvent, PromptProcessed, RequestFailed, Scored, TokenEvent
from server.engine.request import Kind, Request
from server.telemetry import buckets
from server.telemetry.loop_histogram import LoopHistogram
from server.telemetry.task_labels import TaskLabels

_OUTCOMES = ("finished", "aborted", "failed")


class RequestMetrics:
    """An `EngineObserver`. Times are those of the event loop: from the engine's acceptance, as events reach it."""

    def __init__(self, registry: CollectorRegistry, tasks: TaskLabels) -> None:
        self.tasks = tasks
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self.requests = counter(
            "softprompt_requests",
            "Requests that the engine accepted and that have ended: finished, aborted or failed.",
            ["task", "outcome"],
        )
        self.prompt_tokens = counter("softprompt_prompt_tokens", "Tokens of prompts, without virtual ones.", ["task"])
        self.cached_tokens = counter(
            "softprompt_cached_prompt_tokens",
            "Tokens of prompts whose keys and values were found in the prefix cache.",
            ["task"],
        )
        self.generated_tokens = counter("softprompt_generated_tokens", "Tokens generated.", ["task"])
        self.first_token = histogram(
            "softprompt_time_to_first_token_seconds",
            "From acceptance to a request's first token.",
            buckets=buckets.TIME_TO_FIRST_TOKEN,
        )
        self.between_tokens = LoopHistogram(
            "softprompt_inter_token_latency_seconds",
            "Between two tokens of a choice.",
            buckets=buckets.INTER_TOKEN_LATENCY,
            registry=registry,
        )
        self.per_token = histogram(
            "softprompt_time_per_output_token_seconds",
            "Mean time between tokens of a finished choice of two tokens or more.",
            buckets=buckets.TIME_PER_OUTPUT_TOKEN,
        )
        self.duration = histogram(
            "softprompt_request_duration_seconds",
            "From acceptance to the end of a request.",
            ["operation"],
            buckets=buckets.REQUEST_DURATION,
        )

    def begin(self, request: Request[Kind]) -> _Measurement:
        """See `EngineObserver`."""
        return _Measurement(self, request)

    def forget(self, tasks: Collection[str]) -> None:
        """Drop the series of tasks that are gone, and give their labels to others."""
        self.tasks.forget(tasks)
        for task in tasks:
            for metric in (self.prompt_tokens, self.cached_tokens, self.generated_tokens):
                metric.remove(task)
            for outcome in _OUTCOMES:
                self.requests.remove(task, outcome)


class _Measurement:
    """The times of one request."""

    __slots__ = ("_began", "_choices", "_failed", "_metrics", "_request")

    def __init__(self, metrics: RequestMetrics, request: Request[Kind]) -> None:
        self._metrics = metrics
        self._request = request
        metrics.tasks.of(request.task)
        self._began = time.monotonic()
        self._choices: dict[int, _Tokens] = {}
        self._failed = False

    def event(self, event: EngineEvent) -> None:
        if isinstance(event, TokenEvent):
            self._token(event)
        elif isinstance(event, PromptProcessed | Scored | Encoded):
            self._metrics.prompt_tokens.labels(self._task).inc(len(self._request.prompt_token_ids))
            self._metrics.cached_tokens.labels(self._task).inc(event.num_cached_tokens)
        elif isinstance(event, RequestFailed):
            self._failed = True

    @property
    def _task(self) -> str:
        """The label: one that a forgotten task had would otherwise come back with the requests that outlive it."""
        return self._metrics.tasks.known(self._request.task)

    def _token(self, event: TokenEvent) -> None:
        now = time.monotonic()
        tokens = self._choices.get(event.choice)
        if tokens is None:
            if not self._choices:
                self._metrics.first_token.observe(now - self._began)
            self._choices[event.choice] = _Tokens(now)
        else:
            self._metrics.between_tokens.observe(now - tokens.last)
            tokens.last = now
            tokens.number += 1

    def end(self, *, is_aborted: bool) -> None:
        metrics = self._metrics
        outcome = "failed" if self._failed else "aborted" if is_aborted else "finished"
        metrics.requests.labels(self._task, outcome).inc()
        metrics.duration.labels(self._request.kind.name).observe(time.monotonic() - self._began)
        if self._choices:
            metrics.generated_tokens.labels(self._task).inc(sum(tokens.number for tokens in self._choices.values()))
        for tokens in self._choices.values():
            if outcome == "finished" and tokens.number > 1:
                metrics.per_token.observe((tokens.last - tokens.first) / (tokens.number - 1))


class _Tokens:
    """The tokens of one choice so far; times are monotonic, in seconds."""

    __slots__ = ("first", "last", "number")

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.number = 1
