"""A score request: vLLM scores chosen tokens in the next place, so each inner node of the trie is one sequence.

The nodes share their prompt's full blocks. One sequence names at most 128 tokens: a larger node has several.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Any

from server.engine.errors import NumbersOverflow
from server.engine.events import Scored
from server.engine.request import Score
from server.engine.vllm.inputs import MAX_LOGPROB_TOKEN_IDS, scoring_inputs
from server.engine.vllm.open_request import OpenRequest
from server.engine.vllm.sequences import Sequence

_MAX_AT_ONCE = 64
"""Nodes of one request that wait or run at once."""

Node = tuple[int, ...]
"""The tokens that continuations share from their beginning."""


class ScoreRequest(OpenRequest):
    """The continuations of one prompt."""

    def __init__(self, kind: Score, *given: Any) -> None:
        super().__init__(*given)
        self._continuations = kind.continuations
        self._logprobs: dict[Node, float] = {}
        self._num_cached_tokens = 0

    def start(self) -> None:
        """See `OpenRequest`."""
        self.run(self._score)

    def abort(self, choice: int | None) -> None:
        """End the whole request: it has no choices. See `OpenRequest`."""
        if choice is None:
            self.abort_all()

    async def _score(self) -> None:
        """Score the first node alone, so that the others find the prompt in the prefix cache, then all others."""
        (root, children), *others = _parts(self._continuations)
        self._num_cached_tokens = await self._score_children(root, children)
        room = asyncio.Semaphore(_MAX_AT_ONCE)

        async def score(node: Node, children: tuple[int, ...]) -> None:
            async with room:
                await self._score_children(node, children)

        async with asyncio.TaskGroup() as group:
            for node, children in others:
                group.create_task(score(node, children))
        self.emit(Scored(tuple(map(self._sum, self._continuations)), self._num_cached_tokens))

    async def _score_children(self, node: Node, children: tuple[int, ...]) -> int:
        """Score tokens behind a node, and return how many of the prompt's tokens were cached."""
        prompt = (*self.request.prompt_token_ids, *node)
        sequence = Sequence(self.request, self.arrival, self.arrived_at, prompt, scoring_inputs(children))
        num_cached = 0
        async with aclosing(self.sequences.run(sequence)) as outputs:
            async for output in outputs:
                num_cached = output.num_cached_tokens or num_cached
                for ranked in output.logprobs[:1]:
                    for child in children:
                        self._logprobs[*node, child] = ranked[child][0]
        return num_cached

    def _sum(self, continuation: Node) -> float:
        """The log-probability of a continuation. Raises `NumbersOverflow` where the model made no number."""
        found = sum(self._logprobs[continuation[: end + 1]] for end in range(len(continuation)))
        if math.isnan(found):
            raise NumbersOverflow("the model made no number of this prompt")
        return found


def _parts(continuations: Iterable[Node]) -> Iterator[tuple[Node, tuple[int, ...]]]:
    """The inner nodes of the trie with their children, the root first, in parts of at most 128 children."""
    nodes: dict[Node, dict[int, None]] = {}
    for continuation in continuations:
        for end, token in enumerate(continuation):
            nodes.setdefault(continuation[:end], {})[token] = None
    for node, found in nodes.items():
        children = tuple(found)
        for first in range(0, len(children), MAX_LOGPROB_TOKEN_IDS):
            yield node, children[first : first + MAX_LOGPROB_TOKEN_IDS]
