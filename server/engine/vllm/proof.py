"""The proof at start: captured soft prompts against their rows given with each request, in the same engine.

Seeded random soft prompts are asked in four ways: rows and text as `prompt_embeds`, alone and in one batch; captured,
alone and in one batch. How far the first two come apart is the engine's own rounding: the measure for the rest.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from server.engine.errors import EngineError
from server.engine.vllm.backend import Backend
from server.engine.vllm.inputs import sequence_inputs
from server.engine.vllm.soft_prompts import SoftPrompts
from server.model.errors import SelfProofFailed
from server.model.prefix import Prefix, PrefixKind
from softprompt_vllm.requests import EngineInputs

_SAMPLING: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "logprobs": 20}
_NUM_TEXT_TOKENS = 24
_MAX_RATIO = 4  # of the engine's own rounding, as our own engine's proof
_LEAST = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}
"""Differences of log-probabilities that rounding alone may make, whatever the engine's own."""

Answer = dict[int, float]
"""Log-probabilities of the likeliest tokens in the first place."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Largest differences of log-probabilities: of captured soft prompts, of the engine's own rounding, and the least
    between two soft prompts."""

    captured: float
    own: float
    apart: float

    def __str__(self) -> str:
        return (
            f"captured soft prompts differ by {self.captured:.2g} from their rows, one from another by {self.apart:.2g}"
        )


async def prove(backend: Backend, capture_key: str, folder: Path, max_bytes: int) -> Proof:
    """Compare, and return what was found. Raises `SelfProofFailed` for a base model that disagrees."""
    text, prefixes = await _make_cases(backend)
    rows = await backend.embed(text)
    dtype = backend.facts.dtype
    whole = [EngineInputs({"prompt_embeds": torch.cat([p.tensor.to(dtype), rows])}, _SAMPLING) for p in prefixes]
    behind = [sequence_inputs(text, prefix, b"proof", _SAMPLING) for prefix in prefixes]
    soft_prompts = SoftPrompts(backend, capture_key, folder, max_bytes, Counter())
    try:
        expected = [await _ask(backend, one) for one in whole]
        mixed = await asyncio.gather(*(_ask(backend, one) for one in whole))
        for prefix in prefixes:
            await soft_prompts.ready(prefix, "")
        found = [await _ask(backend, one) for one in behind]
        found_mixed = await asyncio.gather(*(_ask(backend, one) for one in behind))
    except EngineError as error:
        raise SelfProofFailed(f"vLLM did not answer the proof at start: {error}") from error
    own = _worst(mixed, expected)
    proof = Proof(
        captured=max(_worst(found, expected), _worst(found_mixed, expected)),
        own=own,
        apart=min(_worst([one], [other]) for one, other in combinations(expected, 2)),
    )
    if not proof.captured <= max(_MAX_RATIO * own, _LEAST[dtype]):
        raise SelfProofFailed(
            "this base model cannot be served with --engine vllm: behind a captured soft prompt its log-probabilities "
            f"differ by {proof.captured:.2g} from those behind the same rows, by rounding alone {own:.2g}"
        )
    return proof


async def _make_cases(backend: Backend) -> tuple[tuple[int, ...], list[Prefix]]:
    """A text, and soft prompts below, at and above whole blocks, as large as the embeddings of tokens."""
    facts, generator = backend.facts, torch.Generator().manual_seed(17)
    size = min(max(size for size, _ in facts.block_groups), max(2, facts.max_context // 4))
    length = min(_NUM_TEXT_TOKENS, max(1, facts.max_context // 4))
    text = tuple(torch.randint(0, facts.vocab_size, (length,), generator=generator).tolist())
    scale = float((await backend.embed(text)).float().std())
    prefixes = []
    for number, num in enumerate((max(1, size // 3), size, size + size // 2)):
        rows = torch.randn(num, facts.hidden_size, generator=generator) * scale
        digest = hashlib.sha256(f"softprompt proof {number} {rows.sum():.6f}".encode()).hexdigest()
        prefixes.append(Prefix(digest, PrefixKind.EMBEDDINGS, rows))
    return text, prefixes


async def _ask(backend: Backend, inputs: EngineInputs) -> Answer:
    found: Answer = {}
    async with aclosing(backend.generate(f"proof-{uuid.uuid4().hex}", inputs)) as outputs:
        async for output in outputs:
            if output.finish_reason == "error":
                raise SelfProofFailed("vLLM refused a request of the proof at start; its log says why")
            for ranked in output.logprobs[:1]:
                found = {token: logprob for token, (logprob, _) in ranked.items()}
    return found


def _worst(answers: Sequence[Answer], expected: Sequence[Answer]) -> float:
    """The largest difference over tokens that both have; infinite where they have none, or no number."""
    differences = [
        [abs(one[token] - other[token]) for token in one.keys() & other.keys()]
        for one, other in zip(answers, expected, strict=True)
    ]
    found = max(max(each, default=float("inf")) for each in differences)
    return found if found == found else float("inf")
