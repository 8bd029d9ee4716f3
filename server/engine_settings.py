"""Settings of one engine: their types, which have the description and the check, and which engine reads which.

`server.settings` has one field per setting, so that they stay in the order of the help.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
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
    Literal["auto", "bfloat16", "int8-weight-only", "int8"],
    Field(
        description="Weights of linear layers and embeddings: auto (as dtype says); on a CPU also bfloat16 and "
        "int8-weight-only (rows stay float32) and int8 (rows are rounded to 8 bits too), on which nothing is tuned."
    ),
]

CaptureOnPromote = Annotated[
    bool,
    Field(
        description="Let vLLM compute a soft prompt when an alias is moved onto its version, and at start those of the "
        "live versions that there is room for; by default when a request first uses it."
    ),
]


def _program(value: Path | None) -> Path | None:
    if value is not None and not (value.is_file() and os.access(value, os.X_OK)):
        raise ValueError(f"{value} is no program that can be run; name the Python of a virtual environment")
    return value


TuningPython = Annotated[
    Path | None,
    AfterValidator(_program),
    Field(
        description="With --engine vllm: the Python of a virtual environment with the server's own libraries, such as "
        ".venv/bin/python. Tuning jobs run in a second process of it. By default none run."
    ),
]

TuningDevice = Annotated[
    str,
    Field(pattern=r"^(cpu|cuda(:\d+)?)$", description="Device of the process of --tuning-python: cpu, cuda or cuda:N."),
]

_OF_VLLM = frozenset({"vllm_args", "vllm_prefix_gib", "capture_on_promote", "tuning_python", "tuning_device"})
_OF_OURS = frozenset(
    {
        "attention",
        "weights",
        "max_prefix_share",
        "tuning_share",
        "tuning_min_share",
    }
)
"""Settings that one of the engines reads and the other does not."""

_OF_TUNING = frozenset({"tuning_device", "tuning_micro_batch_tokens", "tuning_memory_gib", "tuning_checkpoint_s"})
"""Settings that are read with vLLM's engine only where there is a process that tunes."""


def check_settings(engine: str, given: Collection[str]) -> None:
    """Raise ValueError where a setting was given that the engine does not read."""
    if others := sorted(set(given) & (_OF_OURS if engine == "vllm" else _OF_VLLM)):
        raise ValueError(f"{others[0]} is no setting of the engine {engine!r}; leave it out")
    if engine == "vllm" and "tuning_python" not in given and (others := sorted(set(given) & _OF_TUNING)):
        raise ValueError(f"{others[0]} is no setting of the engine 'vllm' without tuning_python; leave it out")
