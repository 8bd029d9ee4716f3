"""Sizes and limits of vLLM's engine, and the check of a request against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.engine.checks import check_number, check_prompt
from server.engine.errors import ContextExceeded, PrefixTooLarge, RequestRefused
from server.engine.request import Encode, Generate, Kind, Request
from server.engine.vllm.backend import BackendFacts
from server.model.prefix import Prefix, PrefixKind


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """Sizes and limits. `max_prefix_bytes` bounds the soft prompts that each worker keeps in host memory.

    `batch_share` is the share of batch requests beside live ones.
    """

    facts: BackendFacts
    eos_token_ids: frozenset[int]
    max_num_seqs: int
    max_open_requests: int
    max_prefix_bytes: int
    batch_share: float = 0.0

    def check(self, request: Request[Kind]) -> None:
        """Raise `RequestRefused` for a request that could never be served."""
        check_prompt(request, self.facts.vocab_size)
        _check_kind(request)
        if request.prefix is not None:
            self.check_prefix(request.prefix)
        self._check_context(request)

    def check_together(self, prefixes: Sequence[Prefix | None]) -> None:
        """Raise `RequestRefused` for more requests of one answer than the queue could ever hold."""
        check_number(len(prefixes), self.max_open_requests)

    def _check_context(self, request: Request[Kind]) -> None:
        num_virtual = 0 if request.prefix is None else request.prefix.num_virtual_tokens
        num_prompt, num_new = len(request.prompt_token_ids), max(1, request.kind.max_new_tokens)
        total = num_virtual + num_prompt + num_new
        if total > self.facts.max_context:
            raise ContextExceeded(
                f"the context holds {self.facts.max_context} tokens (--max-context): {num_virtual} virtual tokens + "
                f"{num_prompt} prompt tokens + {num_new} new tokens = {total}"
            )

    def check_prefix(self, prefix: Prefix) -> None:
        """Raise `RequestRefused` for a soft prompt that could never be served."""
        facts = self.facts
        num_bytes = facts.prefix_bytes(prefix.num_virtual_tokens)
        if num_bytes > self.max_prefix_bytes:
            raise PrefixTooLarge(
                f"the soft prompt has {prefix.num_virtual_tokens} virtual tokens, which take {num_bytes} bytes; this "
                f"server keeps room for {self.max_prefix_bytes} (--vllm-prefix-gib)"
            )
        if prefix.kind is PrefixKind.KEY_VALUES:
            found = tuple(prefix.tensor.shape[1:])
            expected = (2 * facts.num_layers, facts.num_kv_heads, facts.head_dim)
            if found != expected:
                raise RequestRefused(
                    f"the soft prompt has keys and values of the shape {found}, and vLLM keeps {expected} of this "
                    "base model: it cannot be served with --engine vllm"
                )
        elif prefix.tensor.shape[1] != facts.hidden_size:
            raise RequestRefused(
                f"the soft prompt has rows of {prefix.tensor.shape[1]} numbers, the base model of {facts.hidden_size}"
            )


def _check_kind(request: Request[Kind]) -> None:
    """Refuse by name what this engine cannot do."""
    kind = request.kind
    if isinstance(kind, Encode):
        raise RequestRefused("heads on hidden states are not computed with --engine vllm")
    if isinstance(kind, Generate):
        if kind.sampling.prompt_logprobs is not None and request.prefix is not None:
            raise RequestRefused(
                "log-probabilities of a prompt behind a soft prompt are not computed with --engine vllm; "
                "leave out echo or logprobs"
            )
        if kind.sampling.repetition_penalty != 1.0 and kind.sampling.logit_bias:
            raise RequestRefused(
                "repetition_penalty together with logit_bias is not computed with --engine vllm, which applies them in "
                "another order; leave out one of them"
            )
