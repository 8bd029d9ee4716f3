"""The values that a prompt starts with, from the token ids that the plan names."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import init_text_ids
from server.tuning.errors import PlanRefused
from server.tuning.plan import Initialisation, TuningPlan


def initial_ids(plan: TuningPlan, tokenizer: Tokenizer, labels: Sequence[str]) -> list[int]:
    """Return `num_virtual_tokens` token ids to initialise from. Raises `PlanRefused` if there are none."""
    match plan.initialisation:
        case Initialisation.SAMPLE_VOCAB:
            tokens = range(min(tokenizer.vocab_size, tokenizer.num_ids))
            allowed = [token for token in tokens if token not in tokenizer.special_token_ids]
            return random.Random(plan.seed).choices(allowed, k=plan.num_virtual_tokens)
        case Initialisation.LABELS:
            if not labels:
                raise PlanRefused("LABELS needs examples with labels", param="initialisation")
            ids = [token for label in labels for token in tokenizer.encode(label, add_special_tokens=False)]
            if not ids:
                raise PlanRefused("LABELS needs labels that have tokens", param="initialisation")
        case _:
            ids = init_text_ids(tokenizer, plan.init_text or "")
    return (ids * -(-plan.num_virtual_tokens // len(ids)))[: plan.num_virtual_tokens]


def key_values_of(twin: PreTrainedModel, ids: torch.Tensor, num_layers: int) -> Any:
    """Keys and values that the base model computes from `ids` `[1, num_virtual_tokens]`, per layer of PEFT's prompt.

    A decoder returns them, and an encoder writes them into a cache that it is given. Behind an encoder they are those
    of the decoder's self-attention over the same tokens: PEFT gives layer `i` of the decoder the layer `2 * i` of the
    prompt, modulo their number.
    """
    if twin.config.is_encoder_decoder:
        cache: Any = twin(input_ids=ids, decoder_input_ids=ids, use_cache=True).past_key_values
        layers = [(layer.keys, layer.values) for layer in cache.self_attention_cache.layers]
        sources = {2 * layer % num_layers: layer for layer in reversed(range(len(layers)))}
        return [layers[sources.get(index, index)] for index in range(num_layers)]
    found = getattr(twin(input_ids=ids, use_cache=True), "past_key_values", None)
    if found is None:
        found = DynamicCache()
        twin.base_model(input_ids=ids, past_key_values=found)
    return found
