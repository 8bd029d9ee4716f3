"""Forward and backward passes of a soft prompt through the twin, with little memory beside the weights.

Four methods save memory. The backward pass recomputes the activations of every decoder layer. Long examples attend
without a matrix of scores. Logits are computed for completion positions only, and for a few of them at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from server.model.allocator import map_large_blocks
from server.model.base_model import LoadedModel
from server.model.twin import make_twin
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.batches import MicroBatch
from server.tuning.cost import num_heads
from server.tuning.errors import TuningUnsupported
from server.tuning.plan import TuningPlan
from server.tuning.soft_prompt import SoftPrompt

_MAX_LOGITS = 1 << 21
"""Maximum number of logits at a time: with their gradient and float32 copies about 32 MiB."""

_MAX_SCORES = 1 << 24
"""Maximum number of attention scores of a layer: with their softmax and its gradient about 200 MiB in float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Loss in nats of each target, and whether it is the most likely token, each `[num_targets]`."""

    losses: torch.Tensor
    is_right: torch.Tensor


class TuningModel:
    """A soft prompt before the frozen model. The twin stays in evaluation mode, so there is no dropout.

    The initialisation alone uses `labels`. Raises `TuningUnsupported` and `PlanRefused`.
    """

    def __init__(self, loaded: LoadedModel, tokenizer: Tokenizer, plan: TuningPlan, labels: tuple[str, ...]) -> None:
        map_large_blocks()
        twin = make_twin(loaded.model)
        self._attention = _Attention(twin, loaded.device)
        self._attention.choose(1, plan.num_virtual_tokens, plan.num_virtual_tokens)  # of an initialisation by text
        self.prompt = SoftPrompt(twin, tokenizer, plan, labels)
        self.device = loaded.device
        self._embed = twin.get_input_embeddings()
        self._decoder: Any = twin.base_model
        self._head = _head_of(make_twin(loaded.model))
        self._max_targets = max(1, _MAX_LOGITS // loaded.architecture.vocab_size)
        self._check_head(twin)
        _recompute_layers(twin)

    def backward(self, batch: MicroBatch, scale: float) -> float:
        """Add the gradient of `scale` times the summed loss to the prompt's. Returns the summed loss, in nats."""
        with torch.enable_grad():
            hidden = self._hidden(batch)
            above = hidden.detach().requires_grad_()
            total = 0.0
            for part in self._parts(batch):
                loss = functional.cross_entropy(self._logits(above[part]), batch.targets[part], reduction="sum")
                (loss * scale).backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            hidden.backward(above.grad)  # type: ignore[no-untyped-call]
        return total

    @torch.no_grad()
    def judge(self, batch: MicroBatch) -> Judged:
        """Compute the loss and the correctness of each target, without gradients."""
        hidden = self._hidden(batch)
        losses, is_right = [], []
        for part in self._parts(batch):
            logits, targets = self._logits(hidden[part]), batch.targets[part]
            losses.append(functional.cross_entropy(logits, targets, reduction="none"))
            is_right.append(logits.argmax(dim=-1) == targets)
        return Judged(torch.cat(losses).cpu(), torch.cat(is_right).cpu())

    def _parts(self, batch: MicroBatch) -> Iterator[slice]:
        for start in range(0, len(batch.targets), self._max_targets):
            yield slice(start, start + self._max_targets)

    def _hidden(self, batch: MicroBatch) -> torch.Tensor:
        """Last hidden states that predict the targets, `[num_targets, hidden_size]`."""
        prompt = self.prompt
        embeds = self._embed(batch.token_ids).detach()
        first = prompt.num_virtual_tokens
        num_keys = first + embeds.shape[1]
        self._attention.choose(batch.num_examples, embeds.shape[1] if prompt.is_key_values else num_keys, num_keys)
        cache = None
        if prompt.is_key_values:
            cache = prompt.key_values(batch.num_examples)
            positions = torch.arange(first, num_keys, device=self.device)
        else:
            embeds = torch.cat([prompt.embeddings(batch.num_examples).to(embeds.dtype), embeds], dim=1)
            positions = torch.arange(num_keys, device=self.device)
        hidden = self._decoder(
            inputs_embeds=embeds,
            position_ids=positions.expand(batch.num_examples, -1),
            past_key_values=cache,
            use_cache=False,
        ).last_hidden_state
        shift = 0 if prompt.is_key_values else first
        rows: torch.Tensor = hidden[batch.rows, batch.columns + shift]
        return rows

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Float32 logits `[num_targets, vocab_size]` of last hidden states."""
        logits: torch.Tensor = self._head(inputs_embeds=hidden[None], use_cache=False).logits[0]
        return logits.float()

    @torch.no_grad()
    def _check_head(self, twin: PreTrainedModel) -> None:
        """Raise `TuningUnsupported` unless decoder and head, one after the other, compute what the model computes."""
        ids = torch.arange(3, device=self.device)[None]
        whole = twin(input_ids=ids, use_cache=False).logits[0].float()
        parts = self._logits(self._decoder(input_ids=ids, use_cache=False).last_hidden_state[0])
        if whole.shape != parts.shape or not torch.allclose(whole, parts, rtol=1e-3, atol=1e-3 * float(whole.std())):
            raise TuningUnsupported("the head of this architecture cannot be computed apart from its decoder")


class _Attention:
    """Attention of a twin: eager, or fused where the scores of a layer would take much memory.

    Shapes alone decide, so a run can be repeated bit for bit. An architecture for which the fused kernel gives other
    numbers stays eager.
    """

    def __init__(self, twin: PreTrainedModel, device: torch.device) -> None:
        self._twin = twin
        self._num_heads = num_heads(twin.config.get_text_config())
        self._can_fuse = self._gives_the_same(device)

    def choose(self, num_examples: int, num_queries: int, num_keys: int) -> None:
        """Choose for the next forward pass, and for the layers that its backward pass recomputes."""
        is_large = num_examples * self._num_heads * num_queries * num_keys > _MAX_SCORES
        self._twin.set_attn_implementation("sdpa" if is_large and self._can_fuse else "eager")

    @torch.no_grad()
    def _gives_the_same(self, device: torch.device) -> bool:
        decoder: Any = self._twin.base_model
        ids = torch.arange(3, device=device)[None]
        expected = decoder(input_ids=ids, use_cache=False).last_hidden_state.float()
        try:
            self._twin.set_attn_implementation("sdpa")
            fused = decoder(input_ids=ids, use_cache=False).last_hidden_state.float()
        except (ValueError, ImportError):  # transformers knows that this architecture has none
            return False
        few_digits = 0.05  # of half precision
        return torch.allclose(fused, expected, rtol=few_digits, atol=few_digits * float(expected.std()))


class _Given(torch.nn.Module):
    """Replaces a decoder: it returns its `inputs_embeds`, which are last hidden states already."""

    @property
    def decoder(self) -> _Given:
        """The decoder in OPT's decoder, which its model calls."""
        return self

    def forward(
        self, input_ids: None = None, *, inputs_embeds: torch.Tensor, **_: object
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Return the hidden states unchanged."""
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=inputs_embeds)


def _head_of(twin: PreTrainedModel) -> PreTrainedModel:
    """The twin without its decoder: it computes logits from hidden states, with the model's own scales and caps."""
    if getattr(twin, twin.base_model_prefix, None) is None:
        raise TuningUnsupported("this architecture has no decoder apart from its head")
    setattr(twin, twin.base_model_prefix, _Given())
    return twin


def _recompute_layers(twin: PreTrainedModel) -> None:
    """Keep each layer's input only, and recompute the rest in the backward pass (Chen et al. 2016)."""
    for module in twin.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)
