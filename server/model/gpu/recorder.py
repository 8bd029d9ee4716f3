"""Records a model's decode steps for the usual batch sizes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import torch

from server.model.attention import AttentionBackend, AttentionContext, attending
from server.model.base_model import LoadedModel
from server.model.errors import SelfProofFailed
from server.model.flat_batch import Chunk, DecodeGroup, FlatBatch
from server.model.gpu.cuda_graph import CudaGraphPool
from server.model.gpu.decode_graphs import DecodeGraphs, DecodeInputs, Recording
from server.model.kv_cache import KVCache

logger = logging.getLogger(__name__)

# Of the logits' own spread: a recording launches the kernels of a forward pass, but libraries may choose among theirs.
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}

Record = Callable[[Callable[[], torch.Tensor]], Recording]


def record_decodes(
    loaded: LoadedModel,
    kv_cache: KVCache,
    attention: AttentionBackend,
    sizes: Sequence[int],
    record: Record | None = None,
) -> DecodeGraphs | None:
    """Record decode steps of these sizes, and prove each by a step of its own.

    Returns None, with a warning, if the forward pass cannot be recorded, or a recording does not follow its inputs. The
    cache's last block belongs to the padding: it must never be allocated.
    """
    record = record or CudaGraphPool(loaded.device).record
    max_blocks = -(-loaded.architecture.max_context // kv_cache.block_size)

    def make_inputs(size: int) -> DecodeInputs:
        return DecodeInputs(size, max_blocks, kv_cache.block_size, kv_cache.num_blocks - 1, loaded.device)

    def record_step(inputs: DecodeInputs) -> Recording:
        def forward() -> torch.Tensor:
            return _forward(loaded, attention(kv_cache, _static_batch(inputs)), inputs)

        recording = record(forward)
        if chunks := _proof_step(inputs.size, kv_cache, loaded.architecture.vocab_size):
            inputs.fill(chunks)
            _prove(recording.replay()[: len(chunks)].clone(), forward()[: len(chunks)], loaded.dtype)
        return recording

    began, free_before = time.monotonic(), _free_bytes(loaded.device)
    try:
        with torch.inference_mode():
            graphs = DecodeGraphs(sizes, make_inputs, record_step)
    except (RuntimeError, SelfProofFailed) as error:  # a foreign model's forward pass may fail to record for any reason
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        logger.warning("decode steps are not recorded, and cost more launches: %s", reason)
        return None
    taken = (free_before - _free_bytes(loaded.device)) / 1024**2
    logger.info("recorded decode steps of %s sequences: %.0f MiB, %.1f s", sizes, taken, time.monotonic() - began)
    return graphs


def _static_batch(inputs: DecodeInputs) -> FlatBatch:
    rows = torch.arange(inputs.size, device=inputs.positions.device)
    return FlatBatch(
        token_ids=inputs.input_ids,
        positions=inputs.positions,
        slots=inputs.slots,
        logits_rows=rows,
        decodes=DecodeGroup(rows=rows, blocks=inputs.tables, positions=inputs.positions),
        prefills=(),
    )


def _forward(loaded: LoadedModel, context: AttentionContext, inputs: DecodeInputs) -> torch.Tensor:
    with attending(context):
        output = loaded.model(input_ids=inputs.input_ids[None], position_ids=inputs.positions[None], use_cache=False)
    logits: torch.Tensor = output.logits[0]
    return logits.float()


def _proof_step(size: int, kv_cache: KVCache, vocab_size: int) -> list[Chunk]:
    """Rows unlike each other and padding, each in another slot of the padding's block; padding itself has the first."""
    last = min(size, kv_cache.block_size - 1)
    return [Chunk((slot * 7919 % vocab_size,), slot, (kv_cache.num_blocks - 1,), 0) for slot in range(1, last + 1)]


def _prove(replayed: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    worst = float((replayed - expected).abs().max() / expected.std())
    if not worst <= _TOLERANCE[dtype]:  # NaN fails too
        raise SelfProofFailed(f"a recorded step is {worst:.2g} standard deviations of the logits off")


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
