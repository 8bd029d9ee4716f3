"""Which trainable model a run has: by the kind of its base model, and by its task type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prompts_store.checkpoint_records import BaseKind
from server.model.allocator import map_large_blocks
from server.model.base_model import LoadedModel
from server.model.heads.heads import Heads
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import AnswerForm
from server.tuning.models.protocol import TuningModel
from server.tuning.plan import TuningPlan
from server.tuning.task_choice import answer_form


def build_model(
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    plan: TuningPlan,
    labels: tuple[str, ...],
    memory_bytes: int | None = None,
    heads: Heads | None = None,
    instruction: Sequence[int] = (),
) -> TuningModel[Any]:
    """Build the model that a plan trains. `heads` are those of the base model. Raises what its constructor raises.

    In a distillation, `instruction` has the token ids that the teacher's prompts begin with.
    """
    # Here, as they import PEFT: a server that tunes nothing starts without it.
    from server.tuning.models.decoder import DecoderModel
    from server.tuning.models.decoder_classifier import DecoderClassifier
    from server.tuning.models.distilled_decoder import DistilledDecoder
    from server.tuning.models.encoder_classifier import EncoderClassifier
    from server.tuning.models.encoder_decoder import EncoderDecoderModel

    map_large_blocks()
    if instruction:
        return DistilledDecoder(loaded, tokenizer, plan, instruction, memory_bytes)
    match answer_form(plan, loaded.architecture.kind), loaded.architecture.kind:
        case AnswerForm.DECODED, _:
            return EncoderDecoderModel(loaded, tokenizer, plan, labels, memory_bytes)
        case AnswerForm.LABEL, BaseKind.ENCODER:
            return EncoderClassifier(loaded, tokenizer, plan, labels, memory_bytes, heads)
        case AnswerForm.LABEL, _:
            return DecoderClassifier(loaded, tokenizer, plan, labels, memory_bytes, heads)
    return DecoderModel(loaded, tokenizer, plan, labels, memory_bytes)
