"""What a front end asks of the workers themselves, by vLLM's `collective_rpc`.

vLLM adds the methods to its own worker class: `worker_extension_cls="softprompt_vllm.worker_calls.WorkerCalls"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WORKER_EXTENSION = "softprompt_vllm.worker_calls.WorkerCalls"


class WorkerCalls:
    """Methods of a worker. Their results are plain, since they cross processes."""

    def softprompt_layout(self) -> dict[str, Any]:
        """Return the sizes of the KV cache; a group is its block size and the bytes of a block (`CacheLayout`)."""
        from vllm.distributed.kv_transfer import get_kv_transfer_group

        layout = get_kv_transfer_group().worker.layout
        return {
            "num_blocks": layout.num_blocks,
            "groups": [[group.block_size, group.block_bytes] for group in layout.groups],
            "num_layers": layout.num_layers,
            "num_kv_heads": layout.num_kv_heads,
            "head_dim": layout.head_dim,
        }

    def softprompt_embed(self, token_ids: Sequence[int]) -> list[list[float]]:
        """Return the rows of tokens as the model reads them, scaled where it scales them."""
        import torch

        model = self.get_model()  # type: ignore[attr-defined]  # vLLM's worker has it
        with torch.inference_mode():
            device = next(model.parameters()).device
            rows = model.embed_input_ids(torch.tensor(list(token_ids), device=device))
            return rows.float().cpu().tolist()  # type: ignore[no-any-return]
