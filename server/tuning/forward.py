"""Forward and backward passes of a soft prompt through the twin, with little memory beside the weights.

A micro-batch is one flat row of tokens: the virtual tokens once, then each example. Four methods save memory. The
backward pass recomputes decoder layers whose activations would take much of it. Attention is computed per example, and
without a matrix of scores. Logits are computed for completion positions only, and for a few of them at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from server.model.allocator import map_large_blocks
from server.model.attention import ATTENTION_NAME
from server.model.base_model import LoadedModel
from server.model.twin import make_twin
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.batches import MicroBatch
from server.tuning.cost import costs_of
from server.tuning.errors import TuningUnsupported
from server.tuning.flat_attention import FlatAttention
from server.tuning.plan import TuningPlan
from server.tuning.recomputation import Recomputation
from server.tuning.soft_prompt import SoftPrompt

_MAX_LOGITS = 1 << 21
"""Maximum number of logits at a time: with their gradient and float32 copies about 32 MiB."""

_MAX_PIECE_BYTES = 32 << 20
"""Estimated bytes of a piece up to which layers keep their activations. The others are recomputed."""


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
        self.prompt = SoftPrompt(twin, tokenizer, plan, labels)
        self.device = loaded.device
        self._embed = twin.get_input_embeddings()
        self._decoder: Any = twin.base_model
        self._head = _head_of(make_twin(loaded.model))
        self._max_targets = max(1, _MAX_LOGITS // loaded.architecture.vocab_size)
        self._check_head(twin)
        twin.set_attn_implementation(ATTENTION_NAME)
        self._recomputation = Recomputation(twin, _MAX_PIECE_BYTES, costs_of(loaded))

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
        first = prompt.num_virtual_tokens
        embeds = self._embed(batch.token_ids).detach()
        positions = batch.positions + first
        if prompt.is_key_values:
            attention = FlatAttention(batch.lengths, first, self.device, prompt.key_values())
            shift = 0
        else:
            attention = FlatAttention(batch.lengths, first, self.device)
            embeds = torch.cat([prompt.embeddings().to(embeds.dtype), embeds])
            positions = torch.cat([torch.arange(first, device=self.device), positions])
            shift = first
        self._recomputation.choose(len(embeds), first + max(batch.lengths))
        return self._decode(embeds, positions, attention)[batch.rows + shift]

    def _decode(self, embeds: torch.Tensor, positions: torch.Tensor, attention: FlatAttention) -> torch.Tensor:
        """Last hidden states `[num_tokens, hidden_size]` of a flat row of embeddings."""
        hidden: torch.Tensor = self._decoder(
            inputs_embeds=embeds[None], position_ids=positions[None], use_cache=False, paged=attention
        ).last_hidden_state[0]
        return hidden

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
