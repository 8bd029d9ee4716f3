"""Runs one step of an encoder-decoder: the encoder over inputs of new requests, then the decoder over all chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from server.model.attention import AttentionBackend, attending
from server.model.base_model import LoadedModel
from server.model.cpu.packing import padded_rows
from server.model.encoder_decoder.cross_batch import build_cross_batch
from server.model.encoder_decoder.embeddings import InputEmbeddings
from server.model.encoder_decoder.segments import SegmentAttention
from server.model.encoder_decoder.stack_pass import StackPass, passing
from server.model.flat_batch import Chunk, EncoderInput, build_flat_batch
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner, pad_rows


class EncoderDecoderRunner(ModelRunner):
    """The runner over an encoder-decoder. Every chunk has a cross table; prefixes of embeddings are encoder inputs."""

    def __init__(self, loaded: LoadedModel, kv_cache: KVCache, attention: AttentionBackend) -> None:
        super().__init__(loaded, kv_cache, attention)
        self._encoder: Any = loaded.model.get_encoder()
        self._embed_input = InputEmbeddings(loaded.model)

    def _run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        encoded = self._encode([chunk.cross.new for chunk in chunks if chunk.cross and chunk.cross.new])
        batch = build_flat_batch(chunks, self._cache.block_size, self._device)
        cross = self._attention(self._cache, build_cross_batch(chunks, self._cache.block_size, self._device))
        assert batch.token_ids is not None
        num_rows = self._num_rows(len(batch.positions))
        decoding = StackPass(pad_rows(batch.positions, num_rows), cross, batch.logits_rows)
        with attending(self._attention(self._cache, batch)), passing(decoding):
            output = self._model(
                decoder_input_ids=pad_rows(batch.token_ids, num_rows)[None],
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded[None]),
                use_cache=False,
            )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _encode(self, inputs: Sequence[EncoderInput]) -> torch.Tensor:
        """The encoder's output `[num_encoder_rows, hidden_size]`, input after input; no row without an input."""
        rows = [self._embed_input(one) for one in inputs]
        if not rows:
            return torch.zeros(0, self._embed_input.hidden_size, dtype=self._dtype, device=self._device)
        segments = SegmentAttention([len(one) for one in rows], self._device)
        flat = torch.cat(rows)
        num_rows = self._num_rows(len(flat))
        with attending(segments), passing(StackPass(pad_rows(segments.positions, num_rows))):
            output = self._encoder(inputs_embeds=pad_rows(flat, num_rows)[None])
        encoded: torch.Tensor = output.last_hidden_state[0, : len(flat)]
        return encoded

    def _num_rows(self, num_rows: int) -> int:
        return padded_rows(num_rows) if self._is_packed else num_rows
