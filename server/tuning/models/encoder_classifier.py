"""A classification head on an encoder: the loss of labels, by PEFT's own forward pass over padded micro-batches."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

import torch
from peft import TaskType
from transformers import PreTrainedModel

from server.model.base_model import LoadedModel
from server.model.heads.heads import Heads
from server.model.twin import make_twin
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample
from server.tuning.errors import TuningUnsupported
from server.tuning.models.cross_entropy import CrossEntropyModel
from server.tuning.models.head_twin import make_head_twin
from server.tuning.models.padded_batches import PaddedBatch, labelled_batch, padded_groups
from server.tuning.models.padded_pass import PaddedPass, check_padding
from server.tuning.models.soft_prompt import SoftPrompt
from server.tuning.plan import TuningPlan


class EncoderClassifier(CrossEntropyModel[PaddedBatch]):
    """A soft prompt before a frozen encoder, and a head that is trained with it. There is no dropout.

    The head has one output per label; `heads` reads the parameters of it that the base model's files hold. The run may
    take `memory_bytes`; None is a share of what is left. Raises `TuningUnsupported` and `PlanRefused`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer,
        plan: TuningPlan,
        labels: tuple[str, ...],
        memory_bytes: int | None = None,
        heads: Heads | None = None,
    ) -> None:
        twin = make_head_twin(make_twin(loaded.model), len(labels), plan.seed, heads)
        _check_method(plan, twin)
        self.prompt = SoftPrompt(twin, tokenizer, plan, labels, TaskType.SEQ_CLS)
        self.device = loaded.device
        self._plan = plan
        self._pass = PaddedPass(twin, loaded, self.prompt, memory_bytes)
        check_padding(self._pass, loaded.device)

    def batches(self, examples: Sequence[EncodedExample]) -> Iterator[PaddedBatch]:
        """See `TuningModel`."""
        for group in padded_groups(examples, self._fits):
            yield labelled_batch(group, self._pass.padding, self.device)

    def _logits(self, batch: PaddedBatch) -> torch.Tensor:
        """Float32 logits `[num_examples, num_labels]`."""
        return self._pass.logits(batch)

    def _fits(self, num_examples: int, prompt: int, completion: int) -> bool:
        width = self._plan.num_virtual_tokens + prompt + completion
        return num_examples * width <= self._plan.max_micro_batch_tokens


def _check_method(plan: TuningPlan, twin: PreTrainedModel) -> None:
    """Raise `TuningUnsupported` where PEFT's prefix tuning cannot hand keys and values to the encoder."""
    if not plan.is_key_values:
        return
    if "past_key_values" not in inspect.signature(twin.base_model.forward).parameters:
        raise TuningUnsupported(
            f"{twin.config.model_type} models take no keys and values, which {plan.method} needs: choose prompt tuning "
            "or P-tuning"
        )
