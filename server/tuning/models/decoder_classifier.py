"""A classification head on a decoder: the loss of labels, from the last hidden state of each example.

A micro-batch is one flat row of tokens, as for completions. transformers' own head computes the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from peft import TaskType

from server.model.base_model import LoadedModel
from server.model.families.registry import adopt_attention
from server.model.heads.heads import Heads
from server.model.twin import make_twin
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample
from server.tuning.models.cross_entropy import CrossEntropyModel
from server.tuning.models.decoder_pass import DecoderPass
from server.tuning.models.flat_batches import MicroBatch, micro_batches
from server.tuning.models.given import Given
from server.tuning.models.head_twin import make_head_twin
from server.tuning.models.soft_prompt import SoftPrompt
from server.tuning.plan import TuningPlan


class DecoderClassifier(CrossEntropyModel[MicroBatch]):
    """A soft prompt before a frozen decoder, and a head that is trained with it. There is no dropout.

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
        twin = make_twin(loaded.model)
        self._head = make_head_twin(twin, len(labels), plan.seed, heads)
        self.prompt = SoftPrompt(self._head, tokenizer, plan, labels, TaskType.SEQ_CLS)
        self.device = loaded.device
        self._plan = plan
        config = self._head.config.get_text_config()
        self._padding = config.pad_token_id if self.prompt.is_key_values else None
        config.pad_token_id = None  # the head reads the last row then, and looks for no padding
        adopt_attention(twin, loaded.model)
        self._pass = DecoderPass(twin, loaded, self.prompt, memory_bytes)
        setattr(self._head, self._head.base_model_prefix, Given())

    def batches(self, examples: Sequence[EncodedExample]) -> Iterator[MicroBatch]:
        """See `TuningModel`."""
        return micro_batches(
            [self._read(example) for example in examples],
            num_virtual_tokens=self._plan.num_virtual_tokens,
            max_tokens=self._plan.max_micro_batch_tokens,
            device=self.device,
        )

    def _logits(self, batch: MicroBatch) -> torch.Tensor:
        """Float32 logits `[num_examples, num_labels]`. The head takes one example at a time: no padding."""
        hidden = self._pass.hidden(batch).float()
        return torch.cat([self._head(inputs_embeds=row[None, None]).logits for row in hidden])

    def _read(self, example: EncodedExample) -> EncodedExample:
        """The part of an example that its logits depend on.

        transformers' head reads the last token that is not the padding token, where it sees the ids: with keys and
        values as the prompt.
        """
        length = len(example.prompt)
        while length > 1 and example.prompt[length - 1] == self._padding:
            length -= 1
        return example if length == len(example.prompt) else replace(example, prompt=example.prompt[:length])
