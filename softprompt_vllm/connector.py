"""The connector as vLLM builds it: one object in the scheduler's process, one in each worker's.

--kv-transfer-config '{"kv_connector": "SoftPromptConnector",
                       "kv_connector_module_path": "softprompt_vllm.connector",
                       "kv_role": "kv_both",
                       "kv_connector_extra_config": {"folder": "/srv/soft-prompts"}}'
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)
from vllm.distributed.parallel_state import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size
from vllm.model_executor.models.utils import extract_layer_index

from softprompt_vllm.cache_layout import read_layout
from softprompt_vllm.front_end import follow
from softprompt_vllm.plan import BlockIds, StepPlan, WorkerReport
from softprompt_vllm.scheduler_half import SchedulerHalf
from softprompt_vllm.settings import read_settings
from softprompt_vllm.supported import check_supported
from softprompt_vllm.worker_half import Rank, WorkerHalf

logger = logging.getLogger(__name__)

KVConnectorMetadata.register(StepPlan)
KVConnectorWorkerMetadata.register(WorkerReport)


class SoftPromptConnector(KVConnectorBase_V1, SupportsHMA):  # type: ignore[misc]  # vLLM lives in a venv of its own
    """Hands vLLM's calls to the half that this process has. Raises Unsupported at start."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        check_supported(vllm_config, kv_cache_config)
        settings = read_settings(vllm_config.kv_transfer_config.kv_connector_extra_config)
        layout = read_layout(vllm_config.model_config, kv_cache_config)
        self._scheduler: SchedulerHalf | None = None
        self._worker: WorkerHalf | None = None
        if role == KVConnectorRole.SCHEDULER:
            if settings.front_end_pid:
                follow(settings.front_end_pid)
            self._scheduler = SchedulerHalf(settings, layout, vllm_config.parallel_config.world_size)
        else:
            if settings.front_end_pid not in (0, os.getppid()):  # a process beside the engine's, which started it
                follow(os.getppid())
            rank = Rank(get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size())
            self._worker = WorkerHalf(settings.folder, layout, settings.max_device_bytes, rank)

    @property
    def requires_kv_delivery(self) -> bool:
        """No request hands its blocks on."""
        return False

    @property
    def scheduler(self) -> SchedulerHalf:
        """The half of the scheduler's process."""
        assert self._scheduler is not None, "this process has a worker's half"
        return self._scheduler

    @property
    def worker(self) -> WorkerHalf:
        """The half of a worker's process."""
        assert self._worker is not None, "this process has the scheduler's half"
        return self._worker

    # scheduler

    def on_new_request(self, request: Any) -> None:
        """Decide on a request as soon as it comes, so that what it names stays."""
        self.scheduler.add(request)

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int | None, bool]:
        """See `SchedulerHalf.match`."""
        return self.scheduler.match(request, num_computed_tokens)

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """See `SchedulerHalf.allocate`."""
        self.scheduler.allocate(request, blocks.get_block_ids(), num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> StepPlan:
        """See `SchedulerHalf.build`. A capture without its blocks is never ready."""
        scheduled: dict[str, tuple[int, int, BlockIds]] = {}
        for request_id, count in scheduler_output.num_scheduled_tokens.items():
            if self.scheduler.is_capturing(request_id):
                try:
                    block_ids = self._kv_cache_manager.get_block_ids(request_id)
                    scheduled[request_id] = (_num_computed(scheduler_output, request_id), count, block_ids)
                except Exception:  # one that reaches the scheduler would end the engine
                    logger.exception("the capture of request %s", request_id)
        return self.scheduler.build(scheduled)

    def update_connector_output(self, connector_output: Any) -> None:
        """Take in the workers' report."""
        report = connector_output.kv_connector_worker_meta
        if isinstance(report, WorkerReport):
            self.scheduler.report(report)

    def request_finished_all_groups(
        self, request: Any, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        """Forget a request. Its blocks are free at once."""
        self.scheduler.finish(request)
        return False, None

    def request_finished(self, request: Any, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        """Forget a request. Its blocks are free at once."""
        return self.request_finished_all_groups(request, (block_ids,))

    def reset_cache(self) -> bool:
        """Forget all soft prompts, as after a change of weights. False if open requests name some."""
        return self.scheduler.reset()

    # worker

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        """Take the KV cache of this worker's layers."""
        modules = self._vllm_config.compilation_config.static_forward_context
        self.worker.register(kv_caches, modules, {name: extract_layer_index(name) for name in kv_caches})

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """Load what this step reads. Loads are done when this returns."""
        plan: StepPlan = self._get_connector_metadata()
        self.worker.load(plan)

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Loads are done before the forward pass."""

    def save_kv_layer(self, layer_name: str, kv_layer: torch.Tensor, attn_metadata: Any, **kwargs: Any) -> None:
        """Captures are copied once per step, after the last layer: this also holds where a graph is replayed."""

    def wait_for_save(self) -> None:
        """Copy what this step has captured."""
        plan: StepPlan = self._get_connector_metadata()
        self.worker.save(plan)

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:
        """Report the requests that waited for a load."""
        finished, failed = self.worker.take_results()
        return KVConnectorTransferResults(finished_recving=finished, failed_recving=failed)

    def build_connector_worker_meta(self) -> WorkerReport | None:
        """Report the captures and readings that ended."""
        return self.worker.take_report()


def _num_computed(scheduler_output: Any, request_id: str) -> int:
    """Positions of a scheduled request that were computed before this step."""
    for new in scheduler_output.scheduled_new_reqs:
        if new.req_id == request_id:
            return int(new.num_computed_tokens)
    cached = scheduler_output.scheduled_cached_reqs
    return int(cached.num_computed_tokens[cached.req_ids.index(request_id)])
