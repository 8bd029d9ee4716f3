"""A forward pass recorded as a CUDA graph: one launch instead of hundreds."""

from __future__ import annotations

from collections.abc import Callable

import torch

_NUM_WARM_UPS = 2  # kernels compile and libraries allocate their workspaces before the recording


class CudaGraphPool:
    """Records forward passes that share one memory pool: only one replay's result is alive at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, forward: Callable[[], torch.Tensor]) -> CudaGraph:
        """Record `forward`, which reads and writes tensors that stay where they are, and never waits for the device.

        Raises `RuntimeError` where it does wait, or allocates what cannot be replayed.
        """
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_NUM_WARM_UPS):
                    forward()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                output = forward()
        return CudaGraph(graph, output)


class CudaGraph:
    """A recording; see `Recording`."""

    def __init__(self, graph: torch.cuda.CUDAGraph, output: torch.Tensor) -> None:
        self._graph = graph
        self._output = output

    def replay(self) -> torch.Tensor:
        """Launch on the current stream."""
        self._graph.replay()
        return self._output
