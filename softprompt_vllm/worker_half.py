"""The half of the connector in a worker: it copies keys and values between the KV cache and the kept soft prompts.

A capture copies a request's whole blocks after the forward pass. A file is written, by the attention layer's own
kernel, into blocks of the same form. So the form of a block does not matter here, and each tensor-parallel rank keeps
its own heads.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from softprompt_vllm.cache_layout import CacheGroup, CacheLayout
from softprompt_vllm.errors import InvalidPrefixFile, Unsupported
from softprompt_vllm.kept_blocks import Blocks, KeptBlocks
from softprompt_vllm.plan import Capture, Load, StepPlan, WorkerReport
from softprompt_vllm.prefix_file import path_of, read_key_values

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One attention layer of this worker.

    `cache` is `[num_pages, …]`: vLLM may part a block into several pages, `pages_per_block`. `index` counts the
    model's layers. `attention` is vLLM's module.
    """

    name: str
    index: int
    group: int
    cache: torch.Tensor
    pages_per_block: int
    attention: Any


@dataclass(frozen=True, slots=True)
class Rank:
    """This worker's place among `size` tensor-parallel ranks."""

    index: int
    size: int


class WorkerHalf:
    """The KV cache of one worker, and the soft prompts that it keeps."""

    def __init__(self, folder: Path | None, layout: CacheLayout, max_device_bytes: int, rank: Rank) -> None:
        self._folder = folder
        self._layout = layout
        self._rank = rank
        self._layers: tuple[Layer, ...] = ()
        self._partial: dict[str, dict[str, torch.Tensor]] = {}  # by digest: captures that go on in a later step
        self._finished: set[str] = set()
        self._failed: set[str] = set()
        self._report = WorkerReport()
        self.kept = KeptBlocks(max_device_bytes)

    def register(
        self, caches: Mapping[str, torch.Tensor], modules: Mapping[str, Any], indexes: Mapping[str, int]
    ) -> None:
        """Take the KV cache of each layer, its attention module and its index. Raises Unsupported."""
        groups = {name: number for number, group in enumerate(self._layout.groups) for name in group.layer_names}
        self._layers = tuple(
            Layer(
                name,
                indexes[name],
                groups[name],
                cache,
                self._pages_per_block(name, cache, modules[name]),
                modules[name],
            )
            for name, cache in caches.items()
            if name in groups
        )

    @property
    def layout(self) -> CacheLayout:
        """The groups and sizes of the KV cache."""
        return self._layout

    def load(self, plan: StepPlan) -> None:
        """Drop, refuse and load what a plan says. Requests that wait are reported, served or not."""
        self.kept.drop(plan.drops)
        for digest in plan.drops:
            self._partial.pop(digest, None)
        self._finished.update(plan.refused)
        self._failed.update(plan.refused)
        for load in plan.loads:
            if load.waiting is None:
                self._write(load, self.kept.get(load.digest, self._device))
            else:
                self._load_file(load, load.waiting)

    def save(self, plan: StepPlan) -> None:
        """Copy the blocks that this step has captured."""
        for capture in plan.captures:
            try:
                self._save(capture)
            except Exception:  # a lack of memory: the digest stays unknown
                logger.exception("the capture of %s failed", capture.digest)
                self._partial.pop(capture.digest, None)
                self._report.failed.add(capture.ticket)

    def take_results(self) -> tuple[set[str], set[str]]:
        """Return the requests whose wait has ended, and those among them that failed."""
        results = self._finished, self._failed
        self._finished, self._failed = set(), set()
        return results

    def take_report(self) -> WorkerReport | None:
        """Return what has finished since the last call, None if nothing."""
        if not self._report.done and not self._report.failed:
            return None
        report, self._report = self._report, WorkerReport()
        return report

    @property
    def _device(self) -> torch.device:
        return self._layers[0].cache.device

    def _pages_per_block(self, name: str, cache: torch.Tensor, module: Any) -> int:
        pages, rest = divmod(cache.shape[0], self._layout.num_blocks)
        if pages == 0 or rest:
            raise Unsupported(f"the KV cache of {name} does not begin with its blocks: {tuple(cache.shape)}")
        if getattr(module, "kv_sharing_target_layer_name", None) is not None:
            raise Unsupported(f"{name} shares the KV cache of another layer; such models are not supported")
        if not hasattr(module.impl, "do_kv_cache_update"):
            raise Unsupported(f"the attention backend of {name} writes no keys and values by itself")
        return pages

    def _load_file(self, load: Load, request_id: str) -> None:
        self._finished.add(request_id)
        try:
            if load.digest in self.kept:
                blocks = self.kept.get(load.digest, self._device)
            else:
                blocks = self._read(load.digest, load.stop)
                if load.ticket is not None:
                    self.kept.keep(load.digest, blocks)
            self._write(load, blocks)
        except Exception as error:  # a file that cannot be used, or a lack of memory: this request alone fails
            logger.warning("request %s fails: %s", request_id, error)
            self._failed.add(request_id)
            if load.ticket is not None:
                self._report.failed.add(load.ticket)
        else:
            if load.ticket is not None:
                self._report.done[load.ticket] += 1

    def _read(self, digest: str, num_virtual_tokens: int) -> Blocks:
        """Read a file into blocks of the cache's form. Raises InvalidPrefixFile."""
        if self._folder is None:
            raise InvalidPrefixFile("this engine has no folder of files")
        pairs = read_key_values(path_of(self._folder, digest))
        expected = (num_virtual_tokens, self._layout.num_kv_heads, self._layout.head_dim)
        if len(pairs) != self._layout.num_layers or tuple(pairs[0][0].shape) != expected:
            raise InvalidPrefixFile(f"the file of {digest} does not fit the model")
        return {layer.name: self._blocks_of(layer, *pairs[layer.index]) for layer in self._layers}

    def _blocks_of(self, layer: Layer, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Blocks with these keys and values, `[num_virtual_tokens, num_kv_heads, head_dim]` of the whole model."""
        blocks = self._empty(layer, len(key))
        self._fill(layer, blocks, 0, self._own_heads(layer, key), self._own_heads(layer, value))
        return blocks

    def _own_heads(self, layer: Layer, tensor: torch.Tensor) -> torch.Tensor:
        """This rank's heads. Where there are fewer heads than ranks, several ranks have the same."""
        own, total, rank = layer.attention.num_kv_heads, tensor.shape[1], self._rank
        first = rank.index * own if total >= rank.size else rank.index * total // rank.size
        return tensor[:, first : first + own]

    def _empty(self, layer: Layer, num_virtual_tokens: int) -> torch.Tensor:
        """Zeroed blocks for a soft prompt, in the form of the layer's cache."""
        num_blocks = self._layout.num_blocks_of(self._group(layer), num_virtual_tokens)
        shape = (num_blocks * layer.pages_per_block, *layer.cache.shape[1:])
        order = sorted(range(layer.cache.dim()), key=layer.cache.stride().__getitem__, reverse=True)
        tensor = layer.cache.new_zeros([shape[dim] for dim in order])
        return tensor.permute([order.index(dim) for dim in range(len(order))])

    def _fill(self, layer: Layer, blocks: torch.Tensor, start: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write keys and values, `[num_tokens, num_kv_heads, head_dim]` of this rank, from position `start` on."""
        slots = torch.arange(start, start + len(key), dtype=torch.int64, device=blocks.device)
        key, value = (tensor.to(blocks.device, blocks.dtype).contiguous() for tensor in (key, value))
        layer.attention.impl.do_kv_cache_update(layer.attention, key, value, blocks, slots)

    def _write(self, load: Load, blocks: Blocks) -> None:
        """Copy blocks into a request's, but for the null block: that lies outside a sliding window."""
        for layer in self._layers:
            size, ids = self._group(layer).block_size, load.block_ids[layer.group]
            pairs = [(ids[index], index) for index in range(load.start // size, -(-load.stop // size)) if ids[index]]
            if pairs:
                targets, sources = (_pages(numbers, layer.pages_per_block) for numbers in zip(*pairs, strict=True))
                layer.cache[targets] = blocks[layer.name][sources].to(layer.cache.device)

    def _save(self, capture: Capture) -> None:
        if capture.start == 0:
            self._partial[capture.digest] = {
                layer.name: self._empty(layer, capture.num_virtual_tokens) for layer in self._layers
            }
        partial = self._partial[capture.digest]
        for layer in self._layers:
            size, ids = self._group(layer).block_size, capture.block_ids[layer.group]
            indexes = [index for index in range(capture.start // size, -(-capture.stop // size)) if ids[index]]
            sources = _pages([ids[index] for index in indexes], layer.pages_per_block)
            partial[layer.name][_pages(indexes, layer.pages_per_block)] = layer.cache[sources]
        if capture.stop == capture.num_virtual_tokens:
            for layer in self._layers:
                self._clear_rest(layer, partial[layer.name], capture.stop)
            self.kept.keep(capture.digest, self._partial.pop(capture.digest))
            self._report.done[capture.ticket] += 1

    def _clear_rest(self, layer: Layer, blocks: torch.Tensor, stop: int) -> None:
        """Zero the slots of the last block behind the soft prompt: they have what the block held before."""
        num = -stop % self._group(layer).block_size
        if num:
            module = layer.attention
            sizes = module.head_size, module.head_size_v
            self._fill(layer, blocks, stop, *(torch.zeros(num, module.num_kv_heads, size) for size in sizes))

    def _group(self, layer: Layer) -> CacheGroup:
        return self._layout.groups[layer.group]


def _pages(blocks: list[int] | tuple[int, ...], pages_per_block: int) -> list[int]:
    return [block * pages_per_block + page for block in blocks for page in range(pages_per_block)]
