"""The self-proof's sequences of an encoder-decoder, and their logits by the stock model and by the paged path.

Each has an input of the encoder, with or without a soft prompt before it, and tokens of the decoder. They begin in
different steps, so that inputs are encoded while other sequences decode.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from server.model.attention import AttentionBackend
from server.model.base_model import LoadedModel
from server.model.encoder_decoder_runner import EncoderDecoderRunner
from server.model.flat_batch import Chunk, Cross, EncoderInput
from server.model.kv_cache import KVCache
from server.model.proof_sequences import ProofSequence, logits_from

_BLOCK_SIZE, _BLOCKS_EACH = 8, 4
_MAX_TEXT = 20
_CHUNKS = ((4, 3, 1, 1), (1, 1, 6, 1), (3, 1, 1))


def make_encoded_sequences(loaded: LoadedModel, generator: torch.Generator, text: Sequence[int]) -> list[ProofSequence]:
    """Three sequences of random tokens, and two whose inputs are `text` where it has tokens enough."""
    embed: Any = loaded.model.get_input_embeddings()

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, loaded.architecture.vocab_size, (count,), generator=generator).tolist())

    # Noise around real rows, so that the prefix has the norm of embeddings and is not text.
    prefix = embed(torch.tensor(tokens(11), device=embed.weight.device))
    prefix = prefix + prefix.std() * torch.randn(prefix.shape, generator=generator).to(prefix)
    inputs: list[tuple[torch.Tensor | None, tuple[int, ...]]] = [
        (None, tokens(9)),
        (prefix, tokens(14)),
        (prefix[:8], tokens(3)),
    ]
    if len(part := tuple(text[:_MAX_TEXT])) > 4:
        inputs += [(None, part), (prefix, part)]
    return [
        ProofSequence(before, tokens(sum(chunks)), chunks, own)
        for (before, own), chunks in zip(inputs, itertools.cycle(_CHUNKS), strict=False)
    ]


def stock_encoded_logits(stock: LoadedModel, sequences: Sequence[ProofSequence]) -> list[torch.Tensor]:
    """Float32 logits `[num_logits_rows, vocab_size]` of each sequence, padded on the right.

    Text alone enters the model as ids, and text behind a soft prompt as embeddings, as PEFT does it.
    """
    logits: dict[int, torch.Tensor] = {}
    for has_prefix in (False, True):
        numbers = [number for number, one in enumerate(sequences) if (one.prefix is not None) == has_prefix]
        part = [sequences[number] for number in numbers]
        lengths = [torch.ones(_num_input(one), device=stock.device) for one in part]
        output = stock.model(
            **(_embedded(stock, part) if has_prefix else _ids(stock, part)),
            attention_mask=pad_sequence(lengths, batch_first=True),
            decoder_input_ids=_padded_ids(stock, [one.tokens for one in part]),
            use_cache=False,
        )
        for number, one, rows in zip(numbers, part, output.logits, strict=True):
            logits[number] = rows[one.logits_rows].float()
    return [logits[number] for number in range(len(sequences))]


def _ids(stock: LoadedModel, sequences: Sequence[ProofSequence]) -> dict[str, torch.Tensor]:
    return {"input_ids": _padded_ids(stock, [one.encoder_input for one in sequences])}


def _embedded(stock: LoadedModel, sequences: Sequence[ProofSequence]) -> dict[str, torch.Tensor]:
    embed = stock.model.get_input_embeddings()
    rows = []
    for one in sequences:
        own = embed(torch.tensor(one.encoder_input, device=stock.device))
        rows.append(own if one.prefix is None else torch.cat([one.prefix.to(own.dtype), own]))
    return {"inputs_embeds": pad_sequence(rows, batch_first=True)}


def _padded_ids(stock: LoadedModel, ids: Sequence[tuple[int, ...]]) -> torch.Tensor:
    return pad_sequence([torch.tensor(one, device=stock.device) for one in ids], batch_first=True)


def paged_encoded_logits(
    loaded: LoadedModel, sequences: Sequence[ProofSequence], attention: AttentionBackend
) -> list[torch.Tensor]:
    """The same by the paged path: one chunk per step of each sequence that has begun. Two more begin in each step."""
    num_blocks = 1 + 2 * _BLOCKS_EACH * len(sequences)
    cache = KVCache(loaded.architecture.layers, num_blocks, _BLOCK_SIZE, loaded.dtype, loaded.device)
    runner = EncoderDecoderRunner(loaded, cache, attention)
    tables = [tuple(range(first, first + _BLOCKS_EACH)) for first in range(1, num_blocks, _BLOCKS_EACH)]
    rows: list[list[torch.Tensor]] = [[] for _ in sequences]
    done = [0] * len(sequences)
    starts = [number // 2 for number in range(len(sequences))]
    for step in range(max(start + len(one.chunks) for start, one in zip(starts, sequences, strict=True))):
        running = [number for number, one in enumerate(sequences) if 0 <= step - starts[number] < len(one.chunks)]
        chunks = []
        for number in running:
            one = sequences[number]
            part = one.tokens[done[number] : done[number] + one.chunks[step - starts[number]]]
            new = EncoderInput(one.prefix, one.encoder_input) if step == starts[number] else None
            cross = Cross(tables[2 * number], _num_input(one), new)
            chunks.append(Chunk(part, done[number], tables[2 * number + 1], logits_from(len(part)), cross))
            done[number] += len(part)
        logits = torch.split(runner.forward(chunks), [chunk.num_logits for chunk in chunks])
        for number, part_logits in zip(running, logits, strict=True):
            rows[number].append(part_logits)
    return [torch.cat(parts) for parts in rows]


def _num_input(sequence: ProofSequence) -> int:
    """Positions of the encoder."""
    return sequence.num_virtual_tokens + len(sequence.encoder_input)
