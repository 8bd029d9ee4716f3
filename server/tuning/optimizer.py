"""The optimiser of a plan, and an optimiser's state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from server.tuning.plan import Optimizer, TuningPlan


def make_optimizer(
    plan: TuningPlan,
    prompt: Sequence[torch.nn.Parameter],
    head: Sequence[torch.nn.Parameter] = (),
    head_factor: float = 1.0,
) -> torch.optim.Optimizer:
    """Make an optimiser without state. The trainer sets the rate of each group before each step, times its `factor`."""
    groups: list[dict[str, Any]] = [{"params": list(prompt), "factor": 1.0}]
    if head:
        groups.append({"params": list(head), "factor": head_factor})
    if plan.optimizer is Optimizer.ADAFACTOR:
        from transformers.optimization import Adafactor  # here, as it imports PEFT, without which a server starts

        return Adafactor(  # type: ignore[no-untyped-call]
            groups, lr=1.0, scale_parameter=False, relative_step=False, weight_decay=plan.weight_decay
        )
    return torch.optim.AdamW(groups, lr=1.0, weight_decay=plan.weight_decay)


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state by `index.name`. Numbers become 64-bit tensors, so that none is rounded."""
    found = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            kind = torch.int64 if isinstance(value, int) else torch.float64
            tensor = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=kind)
            found[f"{index}.{name}"] = tensor.detach()
    return found


def restore_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give a fresh optimiser the state that `state_tensors` returned."""
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        is_number = tensor.ndim == 0 and tensor.dtype in (torch.int64, torch.float64)
        state.setdefault(int(index), {})[name] = tensor.item() if is_number else tensor
    if state:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
