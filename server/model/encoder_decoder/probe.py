"""A pass of two rows through both stacks of an encoder-decoder, with attention contexts that record its calls."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from server.model.attention import AttentionContext, attending
from server.model.encoder_decoder.stack_pass import StackPass, passing


def run_stacks(
    model: PreTrainedModel, encoder: AttentionContext, decoder: AttentionContext, cross: AttentionContext
) -> int:
    """Call the encoder, then the decoder, each with its contexts. Returns the width of the logits."""
    embeddings: Any = model.get_input_embeddings()
    positions = torch.arange(2, device=embeddings.weight.device)
    with torch.no_grad():
        with attending(encoder), passing(StackPass(positions)):
            encoded = model.get_encoder()(inputs_embeds=embeddings(positions)[None]).last_hidden_state
        with attending(decoder), passing(StackPass(positions, cross, positions)):
            output = model(
                decoder_input_ids=positions[None],
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
                use_cache=False,
            )
    return int(output.logits.shape[-1])
