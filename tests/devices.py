"""The device that tests compute on: `SOFTPROMPT_TEST_DEVICE` (`make gpu-test` sets it), else the CPU."""

from __future__ import annotations

import os

import torch

NAME = os.environ.get("SOFTPROMPT_TEST_DEVICE", "cpu")
DEVICE = torch.device(NAME)
IS_CPU = DEVICE.type == "cpu"

if IS_CPU:
    # Read when Triton is first imported: kernels then run, slowly, on CPU tensors.
    os.environ.setdefault("TRITON_INTERPRET", "1")
