"""The device that tests compute on: `SOFTPROMPT_TEST_DEVICE` (`make gpu-test` sets it), else the CPU.

Run as a program it says whether there is a GPU.
"""

from __future__ import annotations

import os
import sys

import torch

NAME = os.environ.get("SOFTPROMPT_TEST_DEVICE", "cpu")
DEVICE = torch.device(NAME)
IS_CPU = DEVICE.type == "cpu"

if IS_CPU:
    # Read when Triton is first imported: kernels then run, slowly, on CPU tensors.
    os.environ.setdefault("TRITON_INTERPRET", "1")

if __name__ == "__main__":
    if not torch.cuda.is_available():
        print("skipped: this machine, or this build of PyTorch, has no CUDA device", file=sys.stderr)
        sys.exit(1)
    print(f"testing on {torch.cuda.get_device_name()}", file=sys.stderr)
