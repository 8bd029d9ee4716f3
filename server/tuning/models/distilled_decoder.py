"""A decoder that learns another prompt's distributions: the student behind a soft prompt, the teacher behind a text.

The loss of a target is the Kullback-Leibler divergence of the student's distribution from the teacher's, KL(teacher ||
student), over the whole vocabulary. Teacher and student are the same frozen weights. What all prompts of the teacher
begin with is computed once, as keys and values: it is a fixed prefix of the teacher's passes, one example each. Their
last hidden states are kept, so an example has one such pass; the head makes its logits again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn import functional

from server.model.base_model import LoadedModel
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample
from server.tuning.models.decoder import DecoderModel
from server.tuning.models.flat_batches import MicroBatch, micro_batches
from server.tuning.models.protocol import Judged
from server.tuning.plan import Initialisation, TuningPlan

_MAX_KEPT_BYTES = 256 << 20
"""Maximum size of the teacher's hidden states that are kept. Those of further examples are computed in every step."""


class DistilledDecoder(DecoderModel):
    """A soft prompt that learns from a teacher: `EncodedExample.teacher` is the teacher's prompt.

    `instruction` has the token ids that all prompts of the teacher begin with; each prompt has one token more at least.
    Raises what `DecoderModel` raises.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer,
        plan: TuningPlan,
        instruction: Sequence[int],
        memory_bytes: int | None = None,
    ) -> None:
        super().__init__(loaded, tokenizer, plan, (), memory_bytes)
        self._num_shared = len(instruction)
        self._shared = self._pass.key_values_of(instruction)
        if plan.initialisation is Initialisation.INSTRUCTION:
            self.prompt.begin_with(self._pass.spaced_key_values_of(instruction, plan.num_virtual_tokens))
        self._kept: dict[EncodedExample, torch.Tensor] = {}
        self._num_kept_bytes = 0
        self._latest: tuple[MicroBatch, torch.Tensor] | None = None  # the parts of a batch come one after another

    def _loss(self, logits: torch.Tensor, batch: MicroBatch, part: slice) -> torch.Tensor:
        return self._divergences(logits, self._teacher_logits(batch, part)).sum()

    def _judged(self, logits: torch.Tensor, batch: MicroBatch, part: slice) -> Judged:
        """The divergence of each target, and whether teacher and student have the same most likely token."""
        taught = self._teacher_logits(batch, part)
        return Judged(self._divergences(logits, taught), logits.argmax(dim=-1) == taught.argmax(dim=-1))

    def _divergences(self, logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """KL(teacher || student) of each target in nats, `[num_targets]`."""
        student, teacher = functional.log_softmax(logits, dim=-1), functional.log_softmax(taught, dim=-1)
        return functional.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)

    @torch.no_grad()
    def _teacher_logits(self, batch: MicroBatch, part: slice) -> torch.Tensor:
        if self._latest is None or self._latest[0] is not batch:
            self._latest = batch, self._teacher_hidden(batch)
        return self._logits(self._latest[1][part])

    def _teacher_hidden(self, batch: MicroBatch) -> torch.Tensor:
        """The teacher's last hidden states at the batch's targets, `[num_targets, hidden_size]`."""
        return torch.cat([self._hidden_of(self._behind_shared(example)) for example in batch.examples])

    def _hidden_of(self, example: EncodedExample) -> torch.Tensor:
        """Computed alone, so that no bit depends on the examples beside it: a resumed run has other batches first."""
        if example in self._kept:
            return self._kept[example]
        (alone,) = micro_batches([example], num_virtual_tokens=0, max_tokens=example.num_tokens, device=self.device)
        hidden = self._pass.hidden_behind(alone, self._shared)
        num_bytes = hidden.numel() * hidden.element_size()
        if self._num_kept_bytes + num_bytes <= _MAX_KEPT_BYTES:
            self._num_kept_bytes += num_bytes
            self._kept[example] = hidden
        return hidden

    def _behind_shared(self, example: EncodedExample) -> EncodedExample:
        return replace(example, prompt=example.teacher[self._num_shared :], teacher=())
