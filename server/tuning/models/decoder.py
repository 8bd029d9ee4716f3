"""A decoder that completes texts: the loss of completion tokens, with little memory beside the weights.

A micro-batch is one flat row of tokens: the virtual tokens once, then each example. Four methods save memory. The
backward pass recomputes the decoder layers for whose activations there is no room. Attention is computed per example,
and without a matrix of scores. Logits are computed for completion positions only, and for a few of them at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from server.model.base_model import LoadedModel
from server.model.families.registry import adopt_attention
from server.model.twin import make_twin
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample
from server.tuning.errors import TuningUnsupported
from server.tuning.models.decoder_pass import DecoderPass
from server.tuning.models.flat_batches import MicroBatch, micro_batches
from server.tuning.models.given import Given
from server.tuning.models.protocol import Judged
from server.tuning.models.soft_prompt import SoftPrompt
from server.tuning.plan import TuningPlan

_MAX_LOGITS = 1 << 21
"""Maximum number of logits at a time: with their gradient and float32 copies about 32 MiB."""


class DecoderModel:
    """A soft prompt before a frozen decoder. The twin stays in evaluation mode, so there is no dropout.

    The initialisation alone uses `labels`. The run may take `memory_bytes`; None is a share of what is left. Raises
    `TuningUnsupported` and `PlanRefused`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer,
        plan: TuningPlan,
        labels: tuple[str, ...],
        memory_bytes: int | None = None,
    ) -> None:
        twin = make_twin(loaded.model)
        self.prompt = SoftPrompt(twin, tokenizer, plan, labels)
        self.device = loaded.device
        self._plan = plan
        self._head = _head_of(make_twin(loaded.model))
        self._max_targets = max(1, _MAX_LOGITS // loaded.architecture.vocab_size)
        self._check_head(twin)
        adopt_attention(twin, loaded.model)
        self._pass = DecoderPass(twin, loaded, self.prompt, memory_bytes)

    def batches(self, examples: Sequence[EncodedExample]) -> Iterator[MicroBatch]:
        """See `TuningModel`."""
        return micro_batches(
            examples,
            num_virtual_tokens=self._plan.num_virtual_tokens,
            max_tokens=self._plan.max_micro_batch_tokens,
            device=self.device,
        )

    def backward(self, batch: MicroBatch, scale: float) -> float:
        """See `TuningModel`."""
        with torch.enable_grad():
            hidden = self._pass.hidden(batch)
            above = hidden.detach().requires_grad_()
            total = 0.0
            for part in self._parts(batch):
                loss = self._loss(self._logits(above[part]), batch, part)
                (loss * scale).backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            hidden.backward(above.grad)  # type: ignore[no-untyped-call]
        return total

    @torch.no_grad()
    def judge(self, batch: MicroBatch) -> Judged:
        """See `TuningModel`."""
        hidden = self._pass.hidden(batch)
        losses, is_right = [], []
        for part in self._parts(batch):
            judged = self._judged(self._logits(hidden[part]), batch, part)
            losses.append(judged.losses)
            is_right.append(judged.is_right)
        return Judged(torch.cat(losses).cpu(), torch.cat(is_right).cpu())

    def _loss(self, logits: torch.Tensor, batch: MicroBatch, part: slice) -> torch.Tensor:
        """Summed loss of a part of the targets, from its logits `[num_targets, vocab_size]`."""
        return functional.cross_entropy(logits, batch.targets[part], reduction="sum")

    def _judged(self, logits: torch.Tensor, batch: MicroBatch, part: slice) -> Judged:
        targets = batch.targets[part]
        return Judged(functional.cross_entropy(logits, targets, reduction="none"), logits.argmax(dim=-1) == targets)

    def _parts(self, batch: MicroBatch) -> Iterator[slice]:
        for start in range(0, len(batch.targets), self._max_targets):
            yield slice(start, start + self._max_targets)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Float32 logits `[num_targets, vocab_size]` of last hidden states."""
        logits: torch.Tensor = self._head(inputs_embeds=hidden[None], use_cache=False).logits[0]
        return logits.float()

    @torch.no_grad()
    def _check_head(self, twin: PreTrainedModel) -> None:
        """Raise `TuningUnsupported` unless decoder and head, one after the other, compute what the model computes."""
        ids = torch.arange(3, device=self.device)[None]
        whole = twin(input_ids=ids, use_cache=False).logits[0].float()
        parts = self._logits(twin.base_model(input_ids=ids, use_cache=False).last_hidden_state[0])
        if whole.shape != parts.shape or not torch.allclose(whole, parts, rtol=1e-3, atol=1e-3 * float(whole.std())):
            raise TuningUnsupported("the head of this architecture cannot be computed apart from its decoder")


def _head_of(twin: PreTrainedModel) -> PreTrainedModel:
    """The twin without its decoder: it computes logits from hidden states, with the model's own scales and caps."""
    if getattr(twin, twin.base_model_prefix, None) is None:
        raise TuningUnsupported("this architecture has no decoder apart from its head")
    setattr(twin, twin.base_model_prefix, Given())
    return twin
