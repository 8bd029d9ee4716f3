"""The runner that serves: a KV cache, attention, and decode steps recorded on a GPU or in one native call on a CPU."""

from __future__ import annotations

import torch

from server.model.attention import AttentionBackend
from server.model.base_model import LoadedModel
from server.model.encoder_decoder_runner import EncoderDecoderRunner
from server.model.gpu.attention import TritonAttention
from server.model.gpu.decode_graphs import usual_sizes
from server.model.gpu.recorder import record_decodes
from server.model.kv_cache import KVCache
from server.model.native_decode import native_decodes
from server.model.runner import DecodeReplay, ModelRunner


def build_runner(
    loaded: LoadedModel, attention: AttentionBackend, num_blocks: int, block_size: int, max_num_seqs: int
) -> ModelRunner:
    """A runner over a cache of `num_blocks` blocks, the padding block included.

    Recorded decode steps need one more block for their padding rows; no sequence gets it. Those of an encoder-decoder
    are not recorded.
    """
    if loaded.decoding is not None:
        cache = KVCache(loaded.architecture.layers, num_blocks, block_size, loaded.dtype, loaded.device)
        return EncoderDecoderRunner(loaded, cache, attention)
    is_recorded = can_record(loaded.device, attention)
    cache = KVCache(loaded.architecture.layers, num_blocks + is_recorded, block_size, loaded.dtype, loaded.device)
    replay: DecodeReplay | None
    if is_recorded:
        replay = record_decodes(loaded, cache, attention, usual_sizes(max_num_seqs))
    else:
        replay = native_decodes(loaded, cache, attention)
    return ModelRunner(loaded, cache, attention, replay)


def can_record(device: torch.device, attention: AttentionBackend) -> bool:
    """Whether decode steps are recorded: on CUDA, with attention that reads only the filled part of a block table.

    The exact path gathers the whole table, which in a recording covers the full context.
    """
    return device.type == "cuda" and attention is TritonAttention
