"""Inputs that the base model writes itself behind a text (self-study: Eyuboglu et al. 2025)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol

from prompts_store.manifest import Manifest
from server.engine.client import RequestRunner
from server.engine.request import Generate, Request, SamplingParams
from server.tokenizer.chat import render_chat
from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.template import PLACEHOLDER, fill_template
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.answers import text_of
from server.tuning.encoding import encode_prompt
from server.tuning.evaluation import ask_all
from server.tuning.example_line import Example

MAX_INPUT_TOKENS = 128
"""Maximum number of tokens of an input that the base model writes. A longer one is dropped."""

_MAX_DRAFTS_PER_INPUT, _MIN_ROUND = 4, 16
_TOP_P = 0.9
_NUM_SEEDS = 1 << 31


class Writer(Protocol):
    """The author of drafts, which have numbers from 0."""

    async def draft(self, engine: RequestRunner, number: int) -> str:
        """An input; empty if it is of no use. Raises `EngineError`, `ExamplesRefused` and `ChatRefused`."""


@dataclass(frozen=True)
class InputWriter:
    """The base model as the author of inputs behind a text: an instruction, or a part of a document.

    `manifest` is that of the version to make. The drafts take the `asks` in turn: the base model answers one such as
    "Write a question about this.", and for None it goes on where the input begins in the prompt (Magpie: Xu et al.
    2024). Each draft is sampled with a seed of its own: it is the same each time, on the same kind of CPU.
    """

    tokenizer: Tokenizer
    manifest: Manifest
    text: str
    asks: tuple[str | None, ...] = (None,)
    seed: int = 0
    max_tokens: int = MAX_INPUT_TOKENS

    async def draft(self, engine: RequestRunner, number: int) -> str:
        """An input without the white space around it; empty if it was cut off.

        Raises `EngineError`, `ExamplesRefused` and `ChatRefused`.
        """
        ask = self.asks[number % len(self.asks)]
        is_chat = self.manifest.chat_template
        prompt, end = self._prompts[ask]
        sampling = SamplingParams(
            self.max_tokens,
            top_p=_TOP_P,
            seed=(self.seed * 1_000_003 + number) % _NUM_SEEDS,
            stop_token_ids=frozenset(self.tokenizer.special_token_ids) if is_chat else frozenset(),
        )
        request = Request(f"study-{uuid.uuid4().hex}", "", prompt, Generate(sampling), is_batch=True)
        written = await text_of(engine, self.tokenizer, request, end, is_continued=not (is_chat and ask))
        return "" if written.is_cut else written.text.strip()

    @cached_property
    def _prompts(self) -> Mapping[str | None, tuple[tuple[int, ...], tuple[str, ...]]]:
        """Token ids of the prompt of each ask, and the texts that end what is written. Raises `ExamplesRefused`."""
        form = replace(self.manifest, template=None, chat_template=False)
        if self.manifest.chat_template:
            form = replace(form, add_special_tokens=False)  # the chat template has written them
        found = {}
        for ask in self.asks:
            before, after = self._around_input(ask)
            found[ask] = encode_prompt(self.tokenizer, form, Example(before, "", 1)), _end(after)
        return found

    def _around_input(self, ask: str | None) -> tuple[str, str]:
        """The prompt before an input that the base model is to write, and what comes after the input."""
        if not self.manifest.chat_template:
            if ask is not None:
                return f"{self.text}\n\n{ask}\n", "\n"
            before, _, after = fill_template(self.manifest.template, PLACEHOLDER).partition(PLACEHOLDER)
            return (self.text + before).rstrip(" "), after
        user = PLACEHOLDER if ask is None else ask
        rendered = render_chat(self.tokenizer, (ChatMessage("system", self.text), ChatMessage("user", user)))
        if ask is not None:
            return rendered, ""
        before, _, after = rendered.rpartition(PLACEHOLDER)
        return before, after


async def write_inputs(
    engine: RequestRunner,
    writer: Writer,
    count: int,
    drafts: dict[int, str],
    on_progress: Callable[[int], object] = lambda num_done: None,
) -> list[str]:
    """Let the base model write `count` different inputs, and return them; fewer if it repeats itself too often.

    `drafts` is filled as they come, and those that it has are not written again: whoever keeps it resumes from it, to
    the same inputs. `on_progress` gets the number of drafts. Raises `EvaluationFailed`, `EngineStopped`,
    `ExamplesRefused`, and what `on_progress` raises.
    """

    async def take(number: int) -> None:
        drafts[number] = await writer.draft(engine, number)

    while numbers := pending(drafts, count):
        asks = [partial(take, number) for number in numbers]
        await ask_all(asks, "the base model", on_progress=lambda _: on_progress(len(drafts)))
    return different(drafts, count)


def pending(drafts: Mapping[int, str], count: int) -> list[int]:
    """The numbers of the drafts to write next; empty once `count` inputs are there, or no more are to be hoped for.

    They depend on the drafts alone, so whoever resumes asks for the same ones. Each round is as large as what is
    missing, and large enough that a base model that repeats itself is asked in few rounds.
    """
    first, end, limit = 0, count, _MAX_DRAFTS_PER_INPUT * count
    found: set[str] = set()
    while True:
        round_ = range(first, end)
        missing = [number for number in round_ if number not in drafts]
        found.update(drafts[number] for number in round_ if drafts.get(number))
        if missing or len(found) >= count or end == limit:
            return missing
        first, end = end, min(limit, end + max(_MIN_ROUND, count // 8, count - len(found)))


def different(drafts: Mapping[int, str], count: int) -> list[str]:
    """The first `count` different drafts that are not empty."""
    return list(dict.fromkeys(drafts[number] for number in sorted(drafts) if drafts[number]))[:count]


def _end(after: str) -> tuple[str, ...]:
    """The text at which an input ends: the first line with a text behind it, with the white space before."""
    line = after.lstrip().split("\n", 1)[0].rstrip()
    return (after[: after.index(line)] + line if line else "\n",)
