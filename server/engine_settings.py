"""Settings of one engine: their types, which have the description and the check, and which engine reads which.

`server.settings` has one field per setting, so that they stay in the order of the help.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from server.vllm_args import check_args, parse_args


def _checked(value: str) -> str:
    check_args(parse_args(value))
    return value


VllmArgs = Annotated[
    str,
    AfterValidator(_checked),
    Field(
        description="Arguments of vLLM's engine, as a JSON object or as key=value parted by spaces, such as "
        "tensor_parallel_size=2."
    ),
]

VllmPrefixGib = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False, description="Memory for soft prompts in each worker of vLLM, in GiB."),
]

Weights = Annotated[
    Literal["auto", "int8"],
    Field(
        description="Weights of linear layers and embeddings: auto (as dtype says), or int8 (8 bits per weight, on a "
        "CPU; nothing is tuned on them)."
    ),
]

_OF_VLLM = frozenset({"vllm_args", "vllm_prefix_gib"})
_OF_OURS = frozenset(
    {
        "attention",
        "weights",
        "max_prefix_share",
        "tuning_share",
        "tuning_min_share",
        "tuning_micro_batch_tokens",
        "tuning_memory_gib",
        "tuning_checkpoint_s",
    }
)
"""Settings that one of the engines reads and the other does not."""


def check_settings(engine: str, given: Collection[str]) -> None:
    """Raise ValueError where a setting was given that the engine does not read."""
    if others := sorted(set(given) & (_OF_OURS if engine == "vllm" else _OF_VLLM)):
        raise ValueError(f"{others[0]} is no setting of the engine {engine!r}; leave it out")
