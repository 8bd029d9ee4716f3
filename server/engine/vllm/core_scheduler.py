"""vLLM's scheduler, in vLLM's process: a request whose answers have a form gets its grammar here.

vLLM's own way to structured outputs needs a tokenizer, knows one end token, and has other bounds. This one gives the
scheduler grammars of ours, and leaves the rest to it: a request waits until its grammar is compiled, the masks are made
while the model computes, and the workers put them on the logits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output.request import StructuredOutputRequest

from server.engine.vllm.core_forms import CoreForms
from server.engine.vllm.forms import FORM


class _WithForms:
    """What both of vLLM's schedulers get."""

    def __init__(self, vllm_config: Any, *args: Any, structured_output_manager: Any, **given: Any) -> None:
        folder = vllm_config.kv_transfer_config.kv_connector_extra_config["folder"]
        self._forms = CoreForms(Path(folder), vllm_config.model_config.get_vocab_size())
        structured_output_manager.backend = self._forms
        given["structured_output_manager"] = structured_output_manager
        super().__init__(vllm_config, *args, **given)  # type: ignore[call-arg]

    def update_from_output(self, *given: Any) -> Any:
        """As vLLM's, after which the next masks are begun."""
        outputs = super().update_from_output(*given)  # type: ignore[misc]
        self._forms.fill()
        return outputs

    def add_request(self, request: Request) -> None:
        """As vLLM's, but for the grammar."""
        params = request.sampling_params
        if params is not None and (described := (params.extra_args or {}).get(FORM)) is not None:
            asked = StructuredOutputRequest(params=None)
            asked.grammar = self._forms.begin(described, frozenset(params.stop_token_ids or ()))
            request.structured_output_request = asked
            request.status = RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        super().add_request(request)  # type: ignore[misc]


class _FormScheduler(_WithForms, Scheduler):  # type: ignore[misc]
    pass


class _AsyncFormScheduler(_WithForms, AsyncScheduler):  # type: ignore[misc]
    pass


def make_scheduler(vllm_config: Any, *args: Any, **given: Any) -> Scheduler:
    """The scheduler that vLLM would have chosen, with forms."""
    kind = _AsyncFormScheduler if vllm_config.scheduler_config.async_scheduling else _FormScheduler
    return kind(vllm_config, *args, **given)
