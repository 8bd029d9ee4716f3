"""The lower bound of a step: the time of its linear layers alone, each with the fastest available kernel.

    python -m benchmarks.lower_bound --model llama-135m --threads 1

Every layer has weights of its own, as in the model, so that caches miss as often as they do there. Projections of one
input (query, key and value; gate and up) are also tried as one. Prints JSON: seconds per step, and the fastest kernels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

from benchmarks.models import NAMES, prepare

Kernel = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class LinearShape:
    """Linear layers `[num_outputs, num_inputs]` of one kind: `count` per step, for all tokens or some rows."""

    kind: str
    num_outputs: int
    num_inputs: int
    count: int


@dataclass(frozen=True, slots=True)
class LowerBound:
    """The seconds of a step's linear layers, and the fastest kernel for each kind."""

    num_tokens: int
    num_logits: int
    seconds: float
    kernels: dict[str, str]


def main() -> None:
    """Measure decode at the given batches, and prefill at the given numbers of tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NAMES, default=NAMES[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--decode", type=int, nargs="*", default=[1, 32], help="sequences in a decode step")
    parser.add_argument("--prefill", type=int, nargs="*", default=[512], help="tokens in a prefill step")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        alternatives = linear_shapes(prepare(options.model).folder)
        sizes = [(batch, batch) for batch in options.decode]
        sizes += [(tokens, max(1, tokens // 40)) for tokens in options.prefill]  # a prompt has 40 tokens on average
        bounds = [measure(alternatives, tokens, logits, options.repeats) for tokens, logits in sizes]
    print(json.dumps([asdict(bound) for bound in bounds]))


def linear_shapes(folder: str) -> list[list[LinearShape]]:
    """The linear layers of a Llama's step: for each group of projections the ways to compute it, apart or as one."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    head_dim = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    query, key_value = config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim
    return [
        [LinearShape("query", query, hidden, layers), LinearShape("key and value", key_value, hidden, 2 * layers)],
        [LinearShape("query, key and value as one", query + 2 * key_value, hidden, layers)],
        [LinearShape("attention output", hidden, query, layers)],
        [LinearShape("gate and up", inner, hidden, 2 * layers)],
        [LinearShape("gate and up as one", 2 * inner, hidden, layers)],
        [LinearShape("down", hidden, inner, layers)],
        [LinearShape("logits", config.vocab_size, hidden, 1)],
    ]


_APART_OR_AS_ONE = ((0, 1), (2,), (3, 4), (5,), (6,))
"""Indices into `linear_shapes`: the fastest of each tuple counts."""


def measure(shapes: Sequence[Sequence[LinearShape]], num_tokens: int, num_logits: int, repeats: int) -> LowerBound:
    """The sum over the groups of the fastest way to compute each."""
    total = 0.0
    kernels: dict[str, str] = {}
    for choices in _APART_OR_AS_ONE:
        timed = []
        for index in choices:
            rows = [num_logits if shape.kind == "logits" else num_tokens for shape in shapes[index]]
            best = [fastest(shape, count, repeats) for shape, count in zip(shapes[index], rows, strict=True)]
            names = {shape.kind: name for shape, (_, name) in zip(shapes[index], best, strict=True)}
            timed.append((sum(seconds for seconds, _ in best), names))
        seconds, names = min(timed, key=lambda each: each[0])
        total += seconds
        kernels |= names
    return LowerBound(num_tokens, num_logits, total, kernels)


def fastest(shape: LinearShape, num_rows: int, repeats: int) -> tuple[float, str]:
    """Seconds for all layers of a shape, and the kernel: the lowest median of repeats."""
    weights = [torch.randn(shape.num_outputs, shape.num_inputs) * 0.04 for _ in range(shape.count)]
    rows = torch.randn(num_rows, shape.num_inputs)
    results = []
    for name, make in _KERNELS.items():
        kernels = [make(weight, num_rows) for weight in weights]
        results.append((_median_seconds(kernels, rows, repeats), name))
        del kernels
    return min(results)


class FastestLayers:
    """The layers of a shape by the kernel that is fastest at `num_rows` rows, to be timed with any number of rows."""

    def __init__(self, shape: LinearShape, num_rows: int) -> None:
        _, name = fastest(shape, num_rows, repeats=1)
        self._make = _KERNELS[name]
        self._weights = [torch.randn(shape.num_outputs, shape.num_inputs) * 0.04 for _ in range(shape.count)]

    def seconds(self, num_rows: int, clock: Callable[[], float]) -> float:
        """Seconds for all layers, once, by `clock`."""
        kernels = [self._make(weight, num_rows) for weight in self._weights]
        rows = torch.randn(num_rows, self._weights[0].shape[1])
        began = clock()
        for kernel in kernels:
            kernel(rows)
        return clock() - began


def _median_seconds(kernels: Sequence[Kernel], rows: torch.Tensor, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        for kernel in kernels:
            kernel(rows)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def _stock(weight: torch.Tensor, _: int) -> Kernel:
    return lambda rows: F.linear(rows, weight)


def _transposed(weight: torch.Tensor, _: int) -> Kernel:
    columns = weight.t().contiguous()
    return lambda rows: torch.mm(rows, columns)


def _onednn_packed(weight: torch.Tensor, num_rows: int) -> Kernel:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, num_rows)
    run = torch.ops.mkldnn._linear_pointwise
    return lambda rows: run(rows, packed, None, "none", [], "")


def _mkl_packed(weight: torch.Tensor, num_rows: int) -> Kernel:
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, num_rows)
    run = torch.ops.mkl._mkl_linear
    return lambda rows: run(rows, packed, weight, None, num_rows)


_KERNELS: dict[str, Callable[[torch.Tensor, int], Kernel]] = {
    "F.linear": _stock,
    "mm": _transposed,
    "oneDNN packed": _onednn_packed,
}
if torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
    _KERNELS["MKL packed"] = _mkl_packed

if __name__ == "__main__":
    main()
