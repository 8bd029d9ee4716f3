"""A backend without vLLM: the scripted model of the paged engine's tests, and the connector's rules about requests.

The answer of a sequence depends on the digest that its salt names. A salt and parameters that do not agree fail a test;
a digest that is not kept is refused, as the connector refuses it. Forms are kept by the code of vLLM's process.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch

from server.engine.errors import EngineStopped
from server.engine.vllm.backend import BackendFacts, BackendStats, Output
from server.engine.vllm.core_forms import CoreForms, CoreGrammar
from server.engine.vllm.forms import FORM
from server.model.prefix import Prefix, PrefixKind
from softprompt_vllm.claims import Purpose, is_announced, read_parameters, read_salt
from softprompt_vllm.errors import InvalidPrefixFile, Refused
from softprompt_vllm.prefix_file import path_of, read_key_values
from softprompt_vllm.requests import EngineInputs
from tests.engine.paged.scripted_runner import EOS, NAN_TOKEN, VOCAB_SIZE, history_of, scripted_logits

HIDDEN_SIZE = 2
BLOCK_SIZE = 4
FACTS = BackendFacts(
    max_context=96,
    vocab_size=VOCAB_SIZE,
    hidden_size=HIDDEN_SIZE,
    dtype=torch.float32,
    num_blocks=128,
    block_groups=((BLOCK_SIZE, 100),),
    num_layers=1,
    num_kv_heads=1,
    head_dim=2,
)


def make_prefix(number: int, num_virtual_tokens: int, kind: PrefixKind = PrefixKind.EMBEDDINGS) -> Prefix:
    """A soft prompt of the scripted model's size; equal numbers make equal digests."""
    digest = f"{number:014x}".ljust(64, "0" if kind is PrefixKind.EMBEDDINGS else "f")
    shape = (HIDDEN_SIZE,) if kind is PrefixKind.EMBEDDINGS else (2, 1, 2)
    return Prefix(digest, kind, torch.full((num_virtual_tokens, *shape), float(number)))


def make_key_values(number: int, num_virtual_tokens: int) -> Prefix:
    """Keys and values of the scripted model's size."""
    return make_prefix(0x1000000 + number, num_virtual_tokens, PrefixKind.KEY_VALUES)


class ScriptedBackend:
    """Implements `Backend`. It keeps at most `max_kept` soft prompts, the last used.

    Sequences that name a digest of `refused` end with an error. A backend that is dead raises. `delay_s` is the time
    of one token.
    """

    def __init__(self, capture_key: str, folder: Path, max_kept: int = 1000) -> None:
        self.facts = FACTS
        self.kept: OrderedDict[str, int] = OrderedDict()
        self.open: Counter[str] = Counter()
        self.requests: list[EngineInputs] = []
        self.num_captures = 0
        self.num_refused = 0
        self.max_running = 0
        self.is_alive = True
        self.is_closed = False
        self.delay_s = 0.0
        self.refused: set[str] = set()
        self._capture_key = capture_key
        self._folder = folder
        self._max_kept = max_kept
        self._cached: dict[object, set[tuple[int, ...]]] = {}
        self._num_running = 0
        self._num_steps = 0
        self._forms = CoreForms(folder, VOCAB_SIZE)

    @property
    def stats(self) -> BackendStats:
        return BackendStats(num_steps=self._num_steps, kv_usage=min(1.0, self._num_running / 16))

    def close(self) -> None:
        self.is_closed = True

    async def embed(self, token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([[float(token)] * HIDDEN_SIZE for token in token_ids])

    async def generate(self, request_id: str, inputs: EngineInputs):
        assert request_id not in self.open, "vLLM's ids are unique"
        self._check_alive()
        self.requests.append(inputs)
        self._num_running += 1
        self.max_running = max(self.max_running, self._num_running)
        try:
            await self._step()
            async for output in self._outputs(inputs):
                yield output
        finally:
            self._num_running -= 1

    async def _outputs(self, inputs: EngineInputs):
        prompt, sampling = inputs.prompt, inputs.sampling
        try:
            digest, num_virtual = self._claim(prompt, sampling)
        except Refused:
            self.num_refused += 1
            yield Output(finish_reason="error")
            return
        if "prompt_embeds" in prompt:
            logprobs = ({0: (math.nan if math.isnan(float(prompt["prompt_embeds"][0, 0])) else 0.0, 1)},)
            yield Output((0,), logprobs, finish_reason="length")
            return
        text = prompt["prompt_token_ids"][num_virtual:]
        prefix = None if digest is None else _named(digest, num_virtual)
        num_cached = self._cached_tokens(
            prompt.get("cache_salt"), text, bool(sampling.get("prompt_logprobs") is not None)
        )
        rows = [scripted_logits(history_of(prefix, text[:end])) for end in range(1, len(text))]
        scores = (
            [
                None,
                *(_ranked(row, token, sampling["prompt_logprobs"]) for row, token in zip(rows, text[1:], strict=True)),
            ]
            if sampling.get("prompt_logprobs") is not None
            else ()
        )
        output: list[int] = []
        grammar, bitmask = None, self._forms.allocate_token_bitmask(2)
        if (described := sampling.get("extra_args", {}).get(FORM)) is not None:
            ends = frozenset(sampling["stop_token_ids"])
            grammar = await asyncio.wrap_future(self._forms.begin(described, ends))
        draw = random.Random(sampling.get("seed"))
        while True:
            row = scripted_logits(history_of(prefix, [*text, *output]))
            if grammar is not None:
                row = _masked(row, grammar, bitmask)
            token = _choose(row, prompt["prompt_token_ids"], output, sampling, draw)
            output.append(token)
            if grammar is not None:
                assert grammar.accept_tokens("id", [token]), "a request would end with an error"
                self._forms.fill()
            reason = "stop" if token in sampling.get("stop_token_ids", ()) else None
            if reason is None and len(output) >= sampling["max_tokens"]:
                reason = "length"
            named = sampling.get("logprob_token_ids")
            num_top = len(named) if named else sampling.get("logprobs")
            logprobs = () if num_top is None else (_ranked(row, token, num_top, named),)
            yield Output((token,), logprobs, scores if len(output) == 1 else (), num_virtual + num_cached, reason)
            if reason is not None:
                return
            await self._step()

    def _claim(self, prompt: dict, sampling: dict) -> tuple[str | None, int]:
        """The digest and the virtual tokens that a request may use. Raises Refused."""
        salted = read_salt(prompt.get("cache_salt"))
        claim = read_parameters(sampling.get("extra_args", {}).get("kv_transfer_params"))
        if salted is None and claim is None:
            return None, 0
        assert claim is not None and salted == (claim.purpose, claim.digest), "salt and parameters disagree"
        if claim.purpose is Purpose.CAPTURE:
            assert is_announced(claim, self._capture_key)
            self._keep(claim.digest, claim.num_virtual_tokens)
            self.num_captures += 1
            return claim.digest, claim.num_virtual_tokens
        if claim.digest in self.refused:
            raise Refused("a test refuses it")
        if claim.digest not in self.kept:
            self._read(claim.digest)
        if self.kept[claim.digest] != claim.num_virtual_tokens:
            raise Refused("another number of virtual tokens")
        self.kept.move_to_end(claim.digest)
        return claim.digest, claim.num_virtual_tokens

    def _read(self, digest: str) -> None:
        try:
            pairs = read_key_values(path_of(self._folder, digest))
        except InvalidPrefixFile as error:
            raise Refused(str(error)) from error
        self._keep(digest, len(pairs[0][0]))

    def _keep(self, digest: str, num_virtual_tokens: int) -> None:
        self.kept[digest] = num_virtual_tokens
        while len(self.kept) > self._max_kept:
            self.kept.popitem(last=False)

    def _cached_tokens(self, salt: object, text: list[int], reads_none: bool) -> int:
        """Whole blocks of a text that an earlier one with this salt began with, never all of it."""
        known = self._cached.setdefault(salt, set())
        starts = [tuple(text[:end]) for end in range(BLOCK_SIZE, len(text), BLOCK_SIZE)]
        num = max((len(start) for start in starts if start in known), default=0)
        known.update(starts)
        return 0 if reads_none else num

    async def _step(self) -> None:
        self._num_steps += 1
        await asyncio.sleep(self.delay_s)
        self._check_alive()

    def _check_alive(self) -> None:
        if not self.is_alive:
            raise EngineStopped("the engine of vLLM has died")


def _named(digest: str, num_virtual_tokens: int) -> Prefix:
    return Prefix(digest, PrefixKind.EMBEDDINGS, torch.zeros(num_virtual_tokens, 1))


def _masked(row: list[float], grammar: CoreGrammar, bitmask: torch.Tensor) -> list[float]:
    """As vLLM's scheduler and workers: a terminated grammar forbids nothing."""
    if grammar.is_terminated():
        return row
    grammar.fill_bitmask(bitmask, 1)
    return [value if int(bitmask[1, 0]) >> token & 1 else -math.inf for token, value in enumerate(row)]


def _ranked(row: list[float], token: int, num_top: int, named: Sequence[int] | None = None) -> dict:
    total = math.log(math.fsum(map(math.exp, row)))
    order = sorted(range(len(row)), key=lambda one: (-row[one], one))
    wanted = list(named) if named else order[:num_top]
    return {one: (row[one] - total, order.index(one) + 1) for one in dict.fromkeys([token, *wanted])}


def _choose(row: list[float], prompt: list[int], output: list[int], sampling: dict, draw: random.Random) -> int:
    """As vLLM: bias, forbidden ends, penalties, then the draw."""
    row = list(row)
    row[NAN_TOKEN] = -math.inf
    for token, bias in sampling.get("logit_bias", {}).items():
        row[token] += bias
    if len(output) < sampling.get("min_tokens", 0):
        for token in sampling.get("stop_token_ids", ()):
            row[token] = -math.inf
    penalty = sampling.get("repetition_penalty", 1.0)
    for token in {*prompt, *output}:
        row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
    for token, count in Counter(output).items():
        row[token] -= sampling.get("frequency_penalty", 0.0) * count + sampling.get("presence_penalty", 0.0)
    if sampling["temperature"] == 0.0:
        return row.index(max(row))
    weights = [math.exp(min(50.0, value / sampling["temperature"])) for value in row]
    best = max(weights)
    kept = sorted(range(len(row)), key=lambda one: -weights[one])[: sampling.get("top_k") or None]
    kept = [one for one in kept if weights[one] >= sampling.get("min_p", 0.0) * best]
    return draw.choices(kept, [weights[one] for one in kept])[0]


__all__ = ["EOS", "FACTS", "ScriptedBackend", "make_key_values", "make_prefix"]
