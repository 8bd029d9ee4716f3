"""The GPU memory of a step beside weights and KV cache: runs the largest step and measures it."""

from __future__ import annotations

import torch

from server.model.attention import AttentionBackend
from server.model.base_model import LoadedModel
from server.model.errors import OutOfDeviceMemory
from server.model.flat_batch import Chunk
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner
from server.model.sampling.readout import Wanted, read
from server.model.sampling.sampling_params import SamplingParams
from server.model.sampling.sampling_row import SamplingRow


def largest_step(max_context: int, max_batch_tokens: int, max_logits: int, block_size: int) -> list[Chunk]:
    """The maximum number of prompt tokens and of rows of logits; all chunks write to the same blocks."""
    blocks = tuple(range(1, 1 + -(-max_context // block_size)))
    chunks = []
    num_tokens, num_logits = max_batch_tokens, max_logits
    while num_tokens > 0:
        length = min(num_tokens, max_context)
        rows = min(length, num_logits)
        chunks.append(Chunk([0] * length, 0, blocks, length - rows if rows else None))
        num_tokens -= length
        num_logits -= rows
    return chunks


def costliest_wanted(num_logits: int) -> list[Wanted]:
    """One token per row, chosen in the way that takes most memory: with bias and `top_p`."""
    params = SamplingParams(max_tokens=1, temperature=1.0, top_p=0.9, num_logprobs=1, logit_bias=((0, 1.0),))
    return [Wanted(range(row, row + 1), [SamplingRow(row, params, seed=0)]) for row in range(num_logits)]


def activation_bytes(
    loaded: LoadedModel, attention: AttentionBackend, max_batch_tokens: int, max_logits: int, block_size: int
) -> int:
    """Bytes that the largest step takes, sampling included; `attention` is the backend that will serve.

    The run also compiles kernels before the first request. Raises `OutOfDeviceMemory` if the step does not fit beside
    the weights.
    """
    chunks = largest_step(loaded.architecture.max_context, max_batch_tokens, max_logits, block_size)
    device = loaded.device
    try:
        cache = KVCache(
            loaded.architecture.layers, 1 + len(chunks[0].block_table), block_size, loaded.dtype, loaded.device
        )
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        logits = ModelRunner(loaded, cache, attention).forward(chunks)
        read(logits, costliest_wanted(len(logits)))
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) - before
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfDeviceMemory(
            f"a step of {max_batch_tokens} tokens does not fit beside the weights: lower --max-batch-tokens"
        ) from error
    del cache, logits
    torch.cuda.empty_cache()
    return peak
