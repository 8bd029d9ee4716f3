"""The start-up self-proof: the paged path and the twin compute a few seeded random sequences, and are compared.

The sequences, with and without an embeddings prefix, are prefilled in chunks, mixed in one batch, and decoded. Every
row of logits must agree; otherwise the architecture is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from server.model.architecture import embedding_weight
from server.model.attention import AttentionBackend
from server.model.base_model import LoadedModel, dtype_name
from server.model.errors import SelfProofFailed
from server.model.flat_batch import Chunk
from server.model.foreign import foreign_errors
from server.model.kv_cache import KVCache
from server.model.prefix import Prefix, PrefixKind
from server.model.runner import ModelRunner, PrefixPlacement
from server.model.twin import make_twin

_BLOCK_SIZE = 8
# Of the logits' own spread: float32 agrees to rounding, half precision to its few digits.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 2e-1}


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    prefix: torch.Tensor | None  # [num_virtual_tokens, hidden_size]
    tokens: list[int]
    chunks: tuple[int, ...]  # lengths, in sum len(tokens)


def prove(loaded: LoadedModel, attention: AttentionBackend, seed: int = 0) -> float:
    """Return the largest disagreement, in units of the logits' standard deviation.

    `attention` is the backend that will serve. Raises `SelfProofFailed` over the tolerance of the serving dtype, and if
    either path cannot be run.
    """
    refused = f"{loaded.model.config.get_text_config().model_type} models cannot be served"
    with foreign_errors(SelfProofFailed, f"{refused}: the self-proof cannot be run"):
        cases = _cases(loaded, torch.Generator().manual_seed(seed))
        expected = _stock_logits(loaded, cases)
        _check_stock(loaded, torch.cat(expected))
        actual = _paged_logits(loaded, cases, attention)
    spread = torch.cat(expected).std()
    worst = max(float((ours - theirs).abs().max() / spread) for ours, theirs in zip(actual, expected, strict=True))
    if not worst <= _TOLERANCE[loaded.dtype]:  # NaN fails too
        raise SelfProofFailed(
            f"{refused}: the paged path and the stock model disagree by {worst:.2g} standard deviations of the logits "
            f"(allowed: {_TOLERANCE[loaded.dtype]:.2g})"
        )
    return worst


def _check_stock(loaded: LoadedModel, logits: torch.Tensor) -> None:
    """Refuse logits that nothing can be compared with: NaN, infinity, or all equal."""
    if not bool(torch.isfinite(logits).all()):
        raise SelfProofFailed(
            f"these weights cannot be served in {dtype_name(loaded.dtype)}: transformers' own forward pass makes NaN "
            "or infinity of them; if the files are whole, try another --dtype"
        )
    if not float(logits.std()) > 0:
        raise SelfProofFailed("these weights cannot be served: their logits are all the same, whatever the text")


def _cases(loaded: LoadedModel, generator: torch.Generator) -> list[_Case]:
    device = embedding_weight(loaded.model).device
    vocab_size = loaded.architecture.vocab_size

    def tokens(count: int) -> list[int]:
        return torch.randint(0, vocab_size, (count,), generator=generator).tolist()

    picked = torch.tensor(tokens(11), device=device)
    with torch.inference_mode():
        # Noise around real rows, so that the prefix has the norm of embeddings and is not text.
        prefix = loaded.model.get_input_embeddings()(picked)
        prefix = prefix + prefix.std() * torch.randn(prefix.shape, generator=generator).to(prefix)
    return [
        _Case(None, tokens(9), (4, 3, 1, 1)),
        _Case(prefix, tokens(14), (6, 6, 1, 1)),
        _Case(prefix[:8], tokens(6), (1, 3, 1, 1)),
    ]


def _stock_logits(loaded: LoadedModel, cases: list[_Case]) -> list[torch.Tensor]:
    twin = make_twin(loaded.model)
    answers = []
    with torch.inference_mode():
        for case in cases:
            embeds = twin.get_input_embeddings()(torch.tensor(case.tokens, device=loaded.device))
            skipped = 0 if case.prefix is None else len(case.prefix)
            if case.prefix is not None:
                embeds = torch.cat([case.prefix, embeds])
            positions = torch.arange(len(embeds), device=loaded.device)[None]
            logits = twin(inputs_embeds=embeds[None], position_ids=positions, use_cache=False).logits[0]
            answers.append(logits[skipped:].float())
    return answers


def _paged_logits(loaded: LoadedModel, cases: list[_Case], attention: AttentionBackend) -> list[torch.Tensor]:
    blocks_each = 4
    cache = KVCache(loaded.architecture.layers, 1 + blocks_each * len(cases), _BLOCK_SIZE, loaded.dtype, loaded.device)
    runner = ModelRunner(loaded, cache, attention)
    tables = [tuple(range(1 + index * blocks_each, 1 + (index + 1) * blocks_each)) for index in range(len(cases))]
    runner.load_prefixes(
        [
            PrefixPlacement(Prefix("", PrefixKind.EMBEDDINGS, case.prefix), table)
            for case, table in zip(cases, tables, strict=True)
            if case.prefix is not None
        ]
    )
    rows: list[list[torch.Tensor]] = [[] for _ in cases]
    done = [0] * len(cases)
    for step in range(max(len(case.chunks) for case in cases)):
        chunks = []
        for index, case in enumerate(cases):
            start = done[index] + (0 if case.prefix is None else len(case.prefix))
            part = case.tokens[done[index] : done[index] + case.chunks[step]]
            chunks.append(Chunk(part, start, tables[index], logits_from=0))
            done[index] += len(part)
        logits = torch.split(runner.forward(chunks), [chunk.num_logits for chunk in chunks])
        for index, part_logits in enumerate(logits):
            rows[index].append(part_logits)
    return [torch.cat(parts) for parts in rows]
