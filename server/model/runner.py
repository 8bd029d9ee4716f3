"""Runs one step's tensors: chunks in, logits out. The engine's only way to the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from server.model.attention import AttentionBackend, attending
from server.model.base_model import LoadedModel
from server.model.cpu.packing import JointLinear, PackedLinear, padded_rows
from server.model.errors import NonFiniteValues
from server.model.flat_batch import Chunk, FlatBatch, build_flat_batch
from server.model.hidden_rows import captured
from server.model.kv_cache import BlockCopy, KVCache
from server.model.prefix import Prefix, PrefixKind


@dataclass(frozen=True, slots=True, eq=False)
class PrefixPlacement:
    """A prefix and the blocks that its keys and values go to."""

    prefix: Prefix
    blocks: tuple[int, ...]


class Runner(Protocol):
    """The model as the engine uses it. The engine's tests run over a fake with scripted logits."""

    def load_prefixes(self, placements: Sequence[PrefixPlacement]) -> tuple[BaseException | None, ...]:
        """Fill blocks with prefixes. Returns the failure, or None, of each placement."""

    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        """Do block copies in order."""

    def zero_blocks(self, blocks: Sequence[int]) -> None:
        """Zero blocks that were allocated again."""

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Compute chunks and store their keys and values.

        Returns float32 logits `[num_logits, vocab_size]`, chunk after chunk. Chunks with `hidden` get their rows.
        """

    def check_device(self) -> None:
        """Raise the device's error if the device is unusable for the rest of the process."""


class DecodeReplay(Protocol):
    """Decode steps by another way than the model's forward pass: recorded (CUDA graphs), or in one native call."""

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor | None:
        """Float32 logits `[num_chunks, vocab_size]`, or None where the step is not one of its own."""


class ModelRunner:
    """The runner over a transformers model and a paged KV cache.

    Each step tries `replay` first, if there is one.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        kv_cache: KVCache,
        attention: AttentionBackend,
        replay: DecodeReplay | None = None,
    ) -> None:
        self._model = loaded.model
        self._device = loaded.device
        self._dtype = loaded.dtype
        self._cache = kv_cache
        self._attention = attention
        self._replay = replay
        self._is_packed = any(isinstance(module, (PackedLinear, JointLinear)) for module in loaded.model.modules())

    @torch.inference_mode()
    def load_prefixes(self, placements: Sequence[PrefixPlacement]) -> tuple[BaseException | None, ...]:
        """Embeddings run through the model in one flat batch; keys and values are written as they are."""
        chunks = []
        for placement in placements:
            if placement.prefix.kind is PrefixKind.KEY_VALUES:
                self._write_key_values(placement)
            else:
                rows = placement.prefix.tensor.to(self._device, self._dtype)
                chunks.append(Chunk(rows, start=0, block_table=placement.blocks, logits_from=None))
        if chunks:
            self._run(chunks)
        return tuple(
            None
            if self._cache.all_finite(placement.blocks)
            else NonFiniteValues("the prefix is not finite in the cache")
            for placement in placements
        )

    @torch.inference_mode()
    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        """See `Runner`."""
        self._cache.copy(copies)

    @torch.inference_mode()
    def zero_blocks(self, blocks: Sequence[int]) -> None:
        """See `Runner`."""
        self._cache.zero(blocks)

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """See `Runner`."""
        if any(chunk.hidden is not None for chunk in chunks):
            return self._run_for_hidden(chunks).float()
        replayed = None if self._replay is None else self._replay.run(chunks)
        return self._run(chunks).float() if replayed is None else replayed

    def check_device(self) -> None:
        """See `Runner`: an illegal access or a failed assertion in a kernel ends a CUDA context for good."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        batch = build_flat_batch(chunks, self._cache.block_size, self._device)
        num_rows = padded_rows(len(batch.positions)) if self._is_packed else len(batch.positions)
        with attending(self._attention(self._cache, batch)):
            output = self._model(
                **self._inputs(chunks, batch, num_rows),
                position_ids=pad_rows(batch.positions, num_rows)[None],
                use_cache=False,
                # A model call that selects no row at all is not supported everywhere: one row, then dropped.
                logits_to_keep=batch.logits_rows if len(batch.logits_rows) else 1,
            )
        logits: torch.Tensor = output.logits[0]
        return logits[: len(batch.logits_rows)]

    def _run_for_hidden(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        with captured(self._model) as hidden:
            logits = self._run(chunks)
            rows = hidden()
        first = 0
        for chunk in chunks:
            if chunk.hidden is not None:
                chunk.hidden.add(rows[first : first + chunk.num_tokens])
            first += chunk.num_tokens
        return logits

    def _inputs(self, chunks: Sequence[Chunk], batch: FlatBatch, num_rows: int) -> dict[str, torch.Tensor]:
        """Ids where the whole batch is text, else embeddings; `num_rows` of them, those beyond the batch zeros."""
        if batch.token_ids is not None:
            return {"input_ids": pad_rows(batch.token_ids, num_rows)[None]}
        rows = torch.cat([self._embed(chunk) for chunk in chunks])
        return {"inputs_embeds": pad_rows(rows, num_rows)[None]}

    def _embed(self, chunk: Chunk) -> torch.Tensor:
        if isinstance(chunk.tokens, torch.Tensor):
            return chunk.tokens
        embedded: torch.Tensor = self._model.get_input_embeddings()(torch.tensor(chunk.tokens, device=self._device))
        return embedded

    def _write_key_values(self, placement: PrefixPlacement) -> None:
        """`[num_virtual_tokens, 2 * num_layers, num_kv_heads, head_dim]`: even index key, odd index value."""
        rows = placement.prefix.tensor.to(self._device, self._dtype)
        block_size = self._cache.block_size
        slots = [
            placement.blocks[position // block_size] * block_size + position % block_size
            for position in range(placement.prefix.num_virtual_tokens)
        ]
        index = torch.tensor(slots, device=self._device)
        for layer in range(rows.shape[1] // 2):
            self._cache.write(layer, index, rows[:, 2 * layer], rows[:, 2 * layer + 1])


def pad_rows(rows: torch.Tensor, num_rows: int) -> torch.Tensor:
    """`[n, ...]` with zeros behind it: `[num_rows, ...]`."""
    missing = num_rows - len(rows)
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows
