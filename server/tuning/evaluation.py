"""How good a version is, through the very path that serves it: an `EngineClient`, its template, its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prompts_store.records import Manifest
from server.engine.client import EngineClient
from server.model.prefix import Prefix
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.examples import Example


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What is judged: a version (published or not yet), the base model alone, or the base model told in words.

    `name` is for reports (`mood@3`, `base`, `instruction`). `task` is the engine's fairness key.
    """

    name: str
    task: str
    prefix: Prefix | None
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Scores:
    """How a candidate did on `num_examples` examples.

    `exact_match` is the share of greedy answers equal to the expected text, to the letter. `label_accuracy` and
    `macro_f1` are of the label that is the most likely whole answer, as `/v1/classify` says; None without labels.
    `perplexity` is that of the expected answers, end token included, per token.
    """

    name: str
    num_examples: int
    exact_match: float
    label_accuracy: float | None
    macro_f1: float | None
    perplexity: float


def baseline(manifest: Manifest) -> Candidate:
    """The base model without a soft prompt, on the same template."""
    return Candidate("base", "", None, manifest)


def instruction_baseline(manifest: Manifest, instruction: str) -> Candidate:
    """The base model told in words: the instruction stands before the template."""
    raise NotImplementedError


async def evaluate(
    engine: EngineClient,
    tokenizer: Tokenizer,
    candidate: Candidate,
    examples: Sequence[Example],
    *,
    end_token_id: int,
    labels: Sequence[str] = (),
    max_at_once: int = 16,
    on_progress: Callable[[int], object] = lambda num_done: None,
) -> Scores:
    """Score a candidate, `max_at_once` examples at a time. Raises `EngineError` and `ExamplesRefused`."""
    raise NotImplementedError
