"""The sequences of the self-proof, and their logits by the stock model and by the paged path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from server.model.architecture import embedding_weight
from server.model.attention import AttentionBackend
from server.model.base_model import LoadedModel
from server.model.flat_batch import Chunk
from server.model.kv_cache import KVCache
from server.model.native_decode import native_decodes
from server.model.prefix import Prefix, PrefixKind
from server.model.runner import ModelRunner, PrefixPlacement

_BLOCK_SIZE, _BLOCKS_EACH = 8, 4
_MAX_TEXT, _MAX_TEXT_BEHIND_PREFIX = 20, 14


@dataclass(frozen=True, slots=True, eq=False)
class ProofSequence:
    """Tokens behind a prefix `[num_virtual_tokens, hidden_size]` or none, cut into chunks of these lengths.

    Of an encoder-decoder they are the decoder's, and the prefix precedes `encoder_input`. Logits are asked for some
    rows only, as serving does: some architectures compute those of every row, whatever is asked of them.
    """

    prefix: torch.Tensor | None
    tokens: tuple[int, ...]
    chunks: tuple[int, ...]
    encoder_input: tuple[int, ...] = ()

    @property
    def num_virtual_tokens(self) -> int:
        """Rows of the prefix."""
        return 0 if self.prefix is None else len(self.prefix)

    @property
    def logits_rows(self) -> list[int]:
        """The tokens whose logits are compared: of each chunk those that `logits_from` begins."""
        starts = [sum(self.chunks[:index]) for index in range(len(self.chunks))]
        return [
            start + row
            for start, length in zip(starts, self.chunks, strict=True)
            for row in range(logits_from(length), length)
        ]


def logits_from(num_tokens: int) -> int:
    """The first row of a chunk that logits are asked for: the second, or the only one."""
    return min(1, num_tokens - 1)


def make_sequences(loaded: LoadedModel, generator: torch.Generator, text: Sequence[int]) -> list[ProofSequence]:
    """Three sequences of random tokens, and two of `text` where it has tokens enough."""
    vocab_size = loaded.architecture.vocab_size

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, vocab_size, (count,), generator=generator).tolist())

    picked = torch.tensor(tokens(11), device=embedding_weight(loaded.model).device)
    # Noise around real rows, so that the prefix has the norm of embeddings and is not text.
    prefix = loaded.model.get_input_embeddings()(picked)
    prefix = prefix + prefix.std() * torch.randn(prefix.shape, generator=generator).to(prefix)
    sequences = [
        ProofSequence(None, tokens(9), (4, 3, 1, 1)),
        ProofSequence(prefix, tokens(14), (6, 6, 1, 1)),
        ProofSequence(prefix[:8], tokens(6), (1, 3, 1, 1)),
    ]
    for before, most in ((None, _MAX_TEXT), (prefix, _MAX_TEXT_BEHIND_PREFIX)):
        part = tuple(text[:most])
        if len(part) > 4:
            sequences.append(ProofSequence(before, part, (len(part) - 4, 2, 1, 1)))
    return sequences


def stock_logits(stock: LoadedModel, sequences: Sequence[ProofSequence]) -> list[torch.Tensor]:
    """Float32 logits `[num_logits_rows, vocab_size]` of each sequence, by one forward pass padded on the right."""
    embed = stock.model.get_input_embeddings()
    rows = []
    for sequence in sequences:
        own = embed(torch.tensor(sequence.tokens, device=stock.device))
        rows.append(own if sequence.prefix is None else torch.cat([sequence.prefix.to(own.dtype), own]))
    embeds = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    # No positions are given: the model counts them, as it does for PEFT.
    logits = stock.model(inputs_embeds=embeds, use_cache=False).logits
    return [
        own[sequence.num_virtual_tokens :][sequence.logits_rows].float()
        for own, sequence in zip(logits, sequences, strict=True)
    ]


def paged_logits(
    loaded: LoadedModel, sequences: Sequence[ProofSequence], attention: AttentionBackend
) -> list[torch.Tensor]:
    """The same by the paged path: prefixes first, then one chunk of each sequence per step."""
    num_blocks = 1 + _BLOCKS_EACH * len(sequences)
    cache = KVCache(loaded.architecture.layers, num_blocks, _BLOCK_SIZE, loaded.dtype, loaded.device)
    runner = ModelRunner(loaded, cache, attention, native_decodes(loaded, cache, attention))
    tables = [tuple(range(first, first + _BLOCKS_EACH)) for first in range(1, num_blocks, _BLOCKS_EACH)]
    runner.load_prefixes(
        [
            PrefixPlacement(Prefix("", PrefixKind.EMBEDDINGS, sequence.prefix), table)
            for sequence, table in zip(sequences, tables, strict=True)
            if sequence.prefix is not None
        ]
    )
    rows: list[list[torch.Tensor]] = [[] for _ in sequences]
    done = [0] * len(sequences)
    for step in range(max(len(sequence.chunks) for sequence in sequences)):
        chunks = []
        for index, sequence in enumerate(sequences):
            part = sequence.tokens[done[index] : done[index] + sequence.chunks[step]]
            start = sequence.num_virtual_tokens + done[index]
            chunks.append(Chunk(part, start, tables[index], logits_from(len(part))))
            done[index] += len(part)
        logits = torch.split(runner.forward(chunks), [chunk.num_logits for chunk in chunks])
        for index, part_logits in enumerate(logits):
            rows[index].append(part_logits)
    return [torch.cat(parts) for parts in rows]
