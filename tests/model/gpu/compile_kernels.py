"""Compile the kernels to machine code for a GPU that need not be there. Run as a program, by `test_kernels.py`.

The interpreter accepts what the compiler refuses; and a kernel that wants more shared memory than a device has fails at
its first launch.
"""

from __future__ import annotations

import sys
import warnings

import torch

from server.model.gpu.attention import _slots, max_tile_tokens

SHARED_BYTES = {75: 64 * 1024, 80: 163 * 1024, 86: 99 * 1024, 90: 227 * 1024}  # most of one program, by capability
TYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
GROUP = 4


def main(capability: int) -> None:
    """Print one line a kernel: capability, name, what it was compiled for, bytes of shared memory."""
    for dtype in (torch.bfloat16, torch.float32):
        if dtype is torch.bfloat16 and capability < 80:
            dtype = torch.float16
        for dim in (64, 128):
            most = max_tile_tokens(GROUP, dim, dtype)
            attend(capability, dtype, dim, rows=16, num_splits=8, extras=False)
            attend(capability, dtype, dim, rows=most * GROUP, num_splits=1, extras=dim == 128)
    attend(capability, torch.float16, 256, rows=max_tile_tokens(GROUP, 256, torch.float16) * GROUP, num_splits=1)
    small(capability)


def attend(capability: int, dtype: torch.dtype, dim: int, *, rows: int, num_splits: int, extras: bool = False) -> None:
    """The attention kernel, with window, cap, sinks and bias (`extras`) or without."""
    from server.model.gpu.kernels import attend_kernel

    pointers = dict.fromkeys(("query", "key_pages", "value_pages", "sinks", "output"), f"*{TYPES[dtype]}")
    pointers |= dict.fromkeys(("bias", "parts", "maxima", "sums"), "*fp32") | dict.fromkeys(("tiles", "tables"), "*i64")
    constants = {
        "BLOCK_SIZE": 16,
        "GROUP": GROUP,
        "KEY_DIM": dim,
        "VALUE_DIM": dim,
        "KEY_WIDTH": dim,
        "VALUE_WIDTH": dim,
        "ROWS": rows,
        "SLOTS": _slots(dim, dtype),
        "WINDOW": 100 if extras else 0,
        "HAS_SOFTCAP": extras,
        "HAS_SINKS": extras,
        "HAS_BIAS": extras,
        "BIAS_IS_RELATIVE": extras,
        "NUM_SPLITS": num_splits,
        "WIDEN": False,
    }
    label = f"attend {TYPES[dtype]} {dim} rows {rows} splits {num_splits}"
    compile_kernel(attend_kernel, pointers | {"scaling": "fp32", "softcap": "fp32"}, constants, capability, label, 4)


def small(capability: int) -> None:
    """The two kernels around it."""
    from server.model.gpu.kernels import join_kernel, store_kernel

    pointers = {"parts": "*fp32", "maxima": "*fp32", "sums": "*fp32", "sinks": "*fp16", "output": "*fp16"}
    constants = {"VALUE_DIM": 128, "VALUE_WIDTH": 128, "HAS_SINKS": True, "NUM_SPLITS": 32}
    compile_kernel(join_kernel, pointers | {"tiles": "*i64"}, constants, capability, "join", 4)
    pointers = dict.fromkeys(("key", "value", "key_pages", "value_pages"), "*fp16") | {"slots": "*i64"}
    constants = {"KEY_DIM": 80, "VALUE_DIM": 80, "WIDTH": 128}
    compile_kernel(store_kernel, pointers, constants, capability, "store", 1)


def compile_kernel(kernel, types, constants, capability: int, label: str, num_warps: int) -> None:
    """To a cubin; arguments of no named type are 32-bit integers."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    compiled = triton.compile(
        ASTSource(kernel, signature, constants),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": num_warps, "num_stages": 2},
    )
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= SHARED_BYTES[capability], f"{label}: {compiled.metadata.shared} bytes"
    print(capability, label, compiled.metadata.shared)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for capability in sys.argv[1:]:
        main(int(capability))
