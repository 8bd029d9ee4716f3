"""The contract of a contender, and the plain data that goes between the benchmark and a contender's process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.models import BenchModel
from benchmarks.workload import BenchRequest, Workload


@dataclass(frozen=True, slots=True)
class Setup:
    """How a contender is started. `max_num_seqs` is how many requests it may compute at once.

    `settings` are the contender's own: each names a variation, and the contender's module tells which there are. All
    that load the model with PyTorch take `device` ("cpu") and `dtype` ("float32").
    """

    contender: str
    model: BenchModel
    threads: int = 1
    max_num_seqs: int = 32
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Where the model lies."""
        return str(self.settings.get("device", "cpu"))

    @property
    def dtype(self) -> str:
        """The type of weights and activations, as PyTorch names it."""
        return str(self.settings.get("dtype", "float32"))


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer's tokens, and when it was sent and finished, in seconds since the run began.

    `token_s` has the time of each token; contenders that do not stream leave it empty.
    """

    tokens: tuple[int, ...]
    sent_s: float
    finished_s: float
    token_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One workload answered: wall time, the answers in the workload's order, and what the contender counted."""

    seconds: float
    answers: tuple[Answer, ...]
    counts: dict[str, int] = field(default_factory=dict)


class Contender(Protocol):
    """A system that answers workloads. Building it loads the model."""

    def run(self, workload: Workload) -> Run:
        """Answer everything greedily; each answer has as many tokens as its request says."""

    def close(self) -> None:
        """Give back what it holds."""


def workload_from_json(raw: dict[str, Any]) -> Workload:
    """The inverse of `dataclasses.asdict` on a workload."""
    requests = tuple(BenchRequest(**(each | {"prompt": tuple(each["prompt"])})) for each in raw["requests"])
    return Workload(requests, raw["num_virtual_tokens"], raw["num_clients"])


def run_from_json(raw: dict[str, Any]) -> Run:
    """The inverse of `dataclasses.asdict` on a run."""
    answers = tuple(
        Answer(tuple(each["tokens"]), each["sent_s"], each["finished_s"], tuple(each["token_s"]))
        for each in raw["answers"]
    )
    return Run(raw["seconds"], answers, raw["counts"])


def setup_from_json(raw: dict[str, Any]) -> Setup:
    """The inverse of `dataclasses.asdict` on a setup."""
    return Setup(**(raw | {"model": BenchModel(**raw["model"])}))
