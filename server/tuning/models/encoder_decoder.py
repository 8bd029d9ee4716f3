"""An encoder-decoder that answers texts: the loss of answer tokens, by PEFT's own forward pass over padded batches.

An example's input goes to the encoder, and its answer to the decoder behind the decoder's start token. Prompt tuning
and P-tuning put the virtual tokens before the encoder's input; prefix tuning gives the decoder keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from peft import TaskType
from transformers import PreTrainedModel

from server.model.base_model import LoadedModel
from server.model.twin import make_twin
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample
from server.tuning.errors import TuningUnsupported
from server.tuning.models.cross_entropy import CrossEntropyModel
from server.tuning.models.padded_batches import PaddedBatch, decoded_batch, padded_groups
from server.tuning.models.padded_pass import PaddedPass, check_padding
from server.tuning.models.soft_prompt import SoftPrompt
from server.tuning.plan import TuningPlan

_MAX_LOGITS = 1 << 23
"""Maximum number of logits in a micro-batch of several examples: with their gradient and copies about 128 MiB."""


class EncoderDecoderModel(CrossEntropyModel[PaddedBatch]):
    """A soft prompt before a frozen encoder-decoder. There is no dropout.

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
        _check_method(plan, twin)
        self.prompt = SoftPrompt(twin, tokenizer, plan, labels, TaskType.SEQ_2_SEQ_LM)
        self.device = loaded.device
        self._plan = plan
        self._vocab_size = loaded.architecture.vocab_size
        assert loaded.decoding is not None
        self._before = loaded.decoding.given
        self._pass = PaddedPass(twin, loaded, self.prompt, memory_bytes)
        check_padding(self._pass, loaded.device, self._before)

    def batches(self, examples: Sequence[EncodedExample]) -> Iterator[PaddedBatch]:
        """See `TuningModel`."""
        for group in padded_groups(examples, self._fits):
            yield decoded_batch(group, self._pass.padding, self.device, self._decoder_inputs)

    def _logits(self, batch: PaddedBatch) -> torch.Tensor:
        """Float32 logits `[num_targets, vocab_size]`."""
        logits = self._pass.logits(batch, decoder_input_ids=batch.decoder_ids, use_cache=False)
        return logits.flatten(0, 1)[batch.rows]

    def _decoder_inputs(self, completion: tuple[int, ...]) -> tuple[int, ...]:
        return (*self._before, *completion[:-1])

    def _fits(self, num_examples: int, prompt: int, completion: int) -> bool:
        decoder_width = len(self._before) - 1 + completion
        num_positions = num_examples * (self._plan.num_virtual_tokens + prompt + decoder_width)
        num_logits = num_examples * decoder_width * self._vocab_size
        return num_positions <= self._plan.max_micro_batch_tokens and num_logits <= _MAX_LOGITS


def _check_method(plan: TuningPlan, twin: PreTrainedModel) -> None:
    """Raise `TuningUnsupported` where PEFT's keys and values do not fit the decoder."""
    if not plan.is_key_values:
        return
    config = twin.config
    layers = (config.num_hidden_layers, getattr(config, "num_decoder_layers", None) or config.decoder_layers)
    if layers[0] != layers[1]:
        raise TuningUnsupported(
            f"PEFT's prefix tuning makes keys and values for {layers[0]} layers, and the decoder has {layers[1]}: "
            "choose prompt tuning or P-tuning"
        )
