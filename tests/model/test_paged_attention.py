"""Attention over blocks equals attention written down naively, one sequence and one head at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch

from server.model.attention import AttentionBackend, AttentionCall, attending, attention_forward, current_context
from server.model.attention_backend import choose_backend
from server.model.attention_bias import AttentionBias
from server.model.cpu import attention as cpu_attention
from server.model.cpu.attention import CpuPagedAttention
from server.model.errors import UnsupportedArchitecture
from server.model.flat_batch import Chunk, build_flat_batch
from server.model.gpu.attention import TritonAttention, is_triton_available
from server.model.kv_cache import KVCache, LayerShape
from server.model.paged_attention import PagedAttention
from tests.devices import DEVICE, IS_CPU

BLOCK_SIZE = 4
HEAD_DIM = 16  # a whole vector of the C module


@dataclass(frozen=True)
class Case:
    """What a layer may ask for."""

    num_heads: int = 4
    num_kv_heads: int = 2
    value_dim: int = HEAD_DIM
    window: int | None = None
    softcap: float | None = None
    has_sinks: bool = False
    bias: str | None = None
    scaling: float = 0.3


CASES = {
    "grouped": Case(),
    "one KV head": Case(num_kv_heads=1),
    "every head its own": Case(num_kv_heads=4),
    "values of another size": Case(value_dim=5),
    "window of 1": Case(window=1),
    "window of 5": Case(window=5),
    "softcap": Case(softcap=2.0),
    "sinks": Case(has_sinks=True),
    "sinks, window, softcap": Case(window=3, softcap=1.5, has_sinks=True),
    "grouped sinks": Case(num_heads=6, num_kv_heads=2, has_sinks=True),
    "relative bias": Case(bias="relative"),
    "bias by position": Case(num_kv_heads=4, bias="absolute"),
    "bias of few distances": Case(num_heads=6, num_kv_heads=1, window=7, bias="short"),
}
# Without the C module the second is the first.
BACKENDS: dict[str, AttentionBackend] = {"exact": PagedAttention}
BACKENDS |= {"C module": CpuPagedAttention} if IS_CPU else {"kernels": choose_backend(DEVICE)}
# Of each sequence the lengths of its chunks, one a step (0: not in that step).
SCHEDULE = [(5, 1, 1, 3), (9, 4, 0, 1), (0, 1, 6, 1), (1, 1, 1, 1), (0, 0, 13, 2)]


def make_bias(kind: str, num_heads: int, num_positions: int = 400) -> AttentionBias:
    """Random numbers for every position or distance; "short" has four distances, and the rest share the last."""
    table = torch.randn(num_heads, 4 if kind == "short" else num_positions, generator=torch.Generator().manual_seed(3))
    return AttentionBias(table.to(DEVICE), is_relative=kind != "absolute")


class Sequences:
    """Random queries, keys and values of several sequences, over scattered blocks."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator().manual_seed(1)
        self.case = case
        lengths = [sum(chunks) for chunks in SCHEDULE]

        def rows(heads: int, dim: int) -> list[torch.Tensor]:
            return [torch.randn(heads, length, dim, generator=generator).to(DEVICE) for length in lengths]

        self.query = rows(case.num_heads, HEAD_DIM)
        self.key = rows(case.num_kv_heads, HEAD_DIM)
        self.value = rows(case.num_kv_heads, case.value_dim)
        self.sinks = torch.randn(case.num_heads, generator=generator).to(DEVICE) if case.has_sinks else None
        self.bias = None if case.bias is None else make_bias(case.bias, case.num_heads)
        blocks = list(range(1, 30))
        random.Random(0).shuffle(blocks)
        self.tables = [[blocks.pop() for _ in range(-(-length // BLOCK_SIZE))] for length in lengths]

    def call(self, parts: list[tuple[int, int, int]]) -> AttentionCall:
        """One layer's call over chunks `(sequence, start, stop)`."""

        def joined(rows: list[torch.Tensor]) -> torch.Tensor:
            return torch.cat([rows[index][:, start:stop] for index, start, stop in parts], dim=1)

        case = self.case
        return AttentionCall(
            0,
            joined(self.query),
            joined(self.key),
            joined(self.value),
            case.scaling,
            case.window,
            case.softcap,
            self.sinks,
            self.bias,
        )

    def naive(self, index: int) -> torch.Tensor:
        """`[length, num_heads, value_dim]`, row by row."""
        case = self.case
        query, key, value = self.query[index], self.key[index], self.value[index]
        output = torch.zeros(query.shape[1], case.num_heads, case.value_dim, device=DEVICE)
        for head in range(case.num_heads):
            kv_head = head * case.num_kv_heads // case.num_heads
            for position in range(query.shape[1]):
                first = 0 if case.window is None else max(0, position - case.window + 1)
                scores = key[kv_head, first : position + 1] @ query[head, position] * case.scaling
                if self.bias is not None:
                    last = self.bias.table.shape[1] - 1
                    for slot in range(first, position + 1):
                        entry = max(0, last - (position - slot)) if self.bias.is_relative else slot
                        scores[slot - first] += self.bias.table[head, entry]
                if case.softcap is not None:
                    scores = case.softcap * torch.tanh(scores / case.softcap)
                if self.sinks is not None:
                    scores = torch.cat([scores, self.sinks[head : head + 1]])
                weights = scores.softmax(dim=0)[: position + 1 - first]
                output[position, head] = weights @ value[kv_head, first : position + 1]
        return output


def paged(sequences: Sequences, cache: KVCache, backend: AttentionBackend = PagedAttention) -> list[torch.Tensor]:
    done = [0] * len(SCHEDULE)
    outputs: list[list[torch.Tensor]] = [[] for _ in SCHEDULE]
    for step in range(len(SCHEDULE[0])):
        parts = [(index, done[index], done[index] + chunks[step]) for index, chunks in enumerate(SCHEDULE)]
        parts = [part for part in parts if part[2] > part[1]]
        chunks = [Chunk([0] * (stop - start), start, sequences.tables[index], None) for index, start, stop in parts]
        context = backend(cache, build_flat_batch(chunks, BLOCK_SIZE, DEVICE))
        output = context.attend(sequences.call(parts))
        for (index, _, stop), rows in zip(parts, output.split([chunk.num_tokens for chunk in chunks]), strict=True):
            outputs[index].append(rows)
            done[index] = stop
    return [torch.cat(rows) for rows in outputs]


def make_cache(case: Case) -> KVCache:
    return KVCache(
        [LayerShape(case.num_kv_heads, HEAD_DIM, case.value_dim, case.window)], 30, BLOCK_SIZE, torch.float32, DEVICE
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_chunks_mixed_in_batches_equal_each_sequence_alone(name, backend):
    """Five sequences in chunks of 1 to 13 tokens over scattered blocks, four steps."""
    sequences = Sequences(CASES[name])
    for index, output in enumerate(paged(sequences, make_cache(CASES[name]), BACKENDS[backend])):
        torch.testing.assert_close(output, sequences.naive(index), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["grouped", "window of 5", "sinks, window, softcap"])
def test_what_blocks_held_before_does_not_matter(name, backend):
    """Slots past a sequence's end, left by another owner, are masked."""
    cache = make_cache(CASES[name])
    for pages in (*cache.keys, *cache.values):
        pages[1:] = 1e4
    sequences = Sequences(CASES[name])
    for index, output in enumerate(paged(sequences, cache, BACKENDS[backend])):
        torch.testing.assert_close(output, sequences.naive(index), atol=2e-6, rtol=1e-5)


def test_the_padding_block_stays_zero():
    case = CASES["grouped"]
    cache = make_cache(case)
    paged(Sequences(case), cache)
    assert bool((cache.keys[0][0] == 0).all() and (cache.values[0][0] == 0).all())


def test_layers_with_and_without_a_window_share_a_batch():
    """Masks are kept a window, not a batch."""
    full, windowed = Sequences(Case()), Sequences(Case(window=3))
    cache = KVCache([LayerShape(2, HEAD_DIM, HEAD_DIM, None)] * 2, 30, BLOCK_SIZE, torch.float32, DEVICE)
    chunks = [Chunk([0] * 18, 0, full.tables[0] + full.tables[1], None)]
    context = PagedAttention(cache, build_flat_batch(chunks, BLOCK_SIZE, DEVICE))
    parts = [(1, 0, 14), (0, 0, 4)]  # any 18 rows
    first = context.attend(full.call(parts))
    second = context.attend(windowed.call(parts))
    again = context.attend(full.call(parts))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


# --- the C module -----------------------------------------------------------------------------------------------------

needs_c_module = pytest.mark.skipif(not (IS_CPU and cpu_attention.is_built()), reason="no C module")


def attend_both(call: AttentionCall, chunks: list[Chunk], num_blocks: int, block_size: int) -> list[torch.Tensor]:
    """The call by the exact path and by the C module, each over a cache of the same random contents."""
    outputs = []
    for backend in (PagedAttention, CpuPagedAttention):
        num_kv_heads, _, dim = call.key.shape
        layers = [LayerShape(num_kv_heads, dim, dim, call.sliding_window)]
        cache = KVCache(layers, num_blocks, block_size, torch.float32, DEVICE)
        for pages in (*cache.keys, *cache.values):
            pages[1:] = torch.randn(pages[1:].shape, generator=torch.Generator().manual_seed(6))
        outputs.append(backend(cache, build_flat_batch(chunks, block_size, DEVICE)).attend(call))
    return outputs


def decode_both(heads: tuple[int, int], dim: int, block_size: int, poison: float | None = None) -> list[torch.Tensor]:
    """One decode step of four sequences by the exact path and by the C module."""
    num_heads, num_kv_heads = heads
    generator = torch.Generator().manual_seed(5)
    starts = (0, 1, block_size - 1, 2 * block_size + block_size // 2)
    num_blocks = 3 * len(starts) + 1
    order = (torch.randperm(num_blocks - 1, generator=generator) + 1).tolist()
    chunks = [Chunk([0], start, order[3 * i : 3 * i + 3], 0) for i, start in enumerate(starts)]
    query = torch.randn(len(starts), num_heads, dim, generator=generator).transpose(0, 1)  # as models hand it over
    key, value = (torch.randn(num_kv_heads, len(starts), dim, generator=generator) for _ in range(2))
    if poison is not None:
        key[0, 2, 0] = poison
    call = AttentionCall(0, query, key, value, dim**-0.5, None, None, None)
    return attend_both(call, chunks, num_blocks, block_size)


@needs_c_module
@pytest.mark.parametrize("heads", [(9, 3), (4, 4), (20, 1), (64, 8)])
@pytest.mark.parametrize("dim", [8, 32, 64, 80, 128, 256])
@pytest.mark.parametrize("block_size", [1, 16, 100])
def test_the_c_module_gives_the_exact_paths_numbers(heads, dim, block_size):
    """Known and other head sizes, one that it leaves to the exact path, blocks longer than its tiles."""
    exact, ours = decode_both(heads, dim, block_size)
    torch.testing.assert_close(ours, exact, atol=2e-6, rtol=1e-5)


@needs_c_module
def test_threads_share_few_sequences_by_kv_head():
    """More threads than sequences, and fewer: the numbers are those of one thread, bit for bit."""
    _, alone = decode_both((9, 3), 64, 16)
    torch.set_num_threads(2)
    try:
        _, shared = decode_both((9, 3), 64, 16)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(shared, alone)


@needs_c_module
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_the_c_module_hides_no_overflow(poison):
    """What is not finite in one sequence comes out of that sequence, so that it is refused, and of no other."""
    exact, ours = decode_both((4, 2), 64, 16, poison)
    assert torch.equal(torch.isfinite(ours), torch.isfinite(exact))
    finite = torch.isfinite(ours).flatten(1).all(dim=1)
    assert finite.tolist() == [True, True, False, True]


def prefill_both(
    heads: tuple[int, int],
    dim: int,
    block_size: int,
    window: int | None = None,
    poison: float | None = None,
    bias: str | None = None,
) -> list[torch.Tensor]:
    """One step of long and short chunks, some with a context before them, by the exact path and by the C module."""
    num_heads, num_kv_heads = heads
    generator = torch.Generator().manual_seed(5)
    spans = ((0, 70), (40, 33), (200, 17), (300, 1), (63, 2), (0, 9))  # start, tokens
    widths = [-(-(start + count) // block_size) for start, count in spans]
    order = (torch.randperm(sum(widths), generator=generator) + 1).tolist()
    chunks = [
        Chunk([0] * count, start, [order.pop() for _ in range(width)], None)
        for (start, count), width in zip(spans, widths, strict=True)
    ]
    num_tokens = sum(count for _, count in spans)
    query = torch.randn(num_tokens, num_heads, dim, generator=generator).transpose(0, 1)
    key, value = (torch.randn(num_tokens, num_kv_heads, dim, generator=generator).transpose(0, 1) for _ in range(2))
    if poison is not None:
        key[0, 75, 0] = poison
    table = None if bias is None else make_bias(bias, num_heads)
    call = AttentionCall(0, query, key, value, dim**-0.5, window, None, None, table)
    return attend_both(call, chunks, sum(widths) + 1, block_size)


@needs_c_module
@pytest.mark.parametrize("window", [None, 1, 5, 33, 150])
@pytest.mark.parametrize(
    ("heads", "dim", "block_size"),
    [
        ((9, 3), 64, 16),
        ((4, 4), 16, 1),
        ((20, 1), 48, 7),
        ((8, 2), 128, 100),
        ((5, 5), 256, 16),
        ((32, 8), 80, 16),
    ],
)
def test_long_prefills_are_the_exact_paths(heads, dim, block_size, window):
    """Chunks that end within a panel of keys, windows shorter and longer than one, heads that share and do not."""
    exact, ours = prefill_both(heads, dim, block_size, window)
    torch.testing.assert_close(ours, exact, atol=3e-6, rtol=1e-5)


@needs_c_module
@pytest.mark.parametrize("bias", ["relative", "absolute", "short"])
@pytest.mark.parametrize("window", [None, 33])
@pytest.mark.parametrize(("heads", "dim"), [((9, 3), 64), ((4, 4), 128), ((20, 1), 48)])
def test_long_prefills_have_the_exact_paths_bias(heads, dim, window, bias):
    """Each head has numbers of its own, by the true position of query and key."""
    exact, ours = prefill_both(heads, dim, 16, window, bias=bias)
    torch.testing.assert_close(ours, exact, atol=3e-6, rtol=1e-5)


@needs_c_module
def test_threads_share_a_prefill():
    """The numbers are those of one thread, bit for bit."""
    _, alone = prefill_both((9, 3), 64, 16)
    torch.set_num_threads(2)
    try:
        _, shared = prefill_both((9, 3), 64, 16)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(shared, alone)


@needs_c_module
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_long_prefill_hides_no_overflow(poison):
    """Every row that sees what is not finite shows it, as by the exact path; no other row of any sequence does."""
    exact, ours = (torch.isfinite(output) for output in prefill_both((4, 2), 64, 16, poison=poison))
    assert torch.equal(ours[75:103], exact[75:103])
    assert not bool(ours[75:103].all())
    assert bool(ours[:75].all() and ours[103:].all())


def test_each_device_gets_its_kernels_where_they_are_installed_and_exact_is_exact():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_backend(cpu) is (CpuPagedAttention if cpu_attention.is_built() else PagedAttention)
    assert choose_backend(cuda) is (TritonAttention if is_triton_available() else PagedAttention)
    assert choose_backend(cpu, exact=True) is choose_backend(cuda, exact=True) is PagedAttention


# --- the function that transformers calls -----------------------------------------------------------------------------


class Module(torch.nn.Module):
    layer_idx = 3


class Remembers:
    """A context that keeps the call and answers with zeros."""

    def attend(self, call: AttentionCall) -> torch.Tensor:
        self.call = call
        return torch.zeros(call.query.shape[1], call.query.shape[0], call.value.shape[-1])


def forward(context, module=None, **keywords):
    query = torch.zeros(1, 4, 5, 16)
    key = torch.zeros(1, 2, 5, 16)
    with attending(context):
        return attention_forward(module or Module(), query, key, key, **({"attention_mask": None} | keywords))


def test_what_the_model_asks_for_reaches_the_context():
    context, sinks = Remembers(), torch.zeros(4)
    output, weights = forward(context, scaling=0.5, sliding_window=7, softcap=30.0, s_aux=sinks, dropout=0.0)
    assert weights is None
    assert output.shape == (1, 5, 4, 16)
    call = context.call
    assert (call.layer, call.scaling, call.sliding_window, call.softcap) == (3, 0.5, 7, 30.0)
    assert call.sinks is sinks


def test_scaling_defaults_to_that_of_the_head():
    context = Remembers()
    forward(context)
    assert context.call.scaling == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"attention_mask": torch.zeros(1)}, "a mask or bias of its own"),
        ({"position_bias": torch.zeros(1)}, "a mask or bias of its own"),
        ({"module": torch.nn.Module()}, "no layer index"),
    ],
)
def test_what_would_not_be_exact_is_refused(keywords, message):
    with pytest.raises(UnsupportedArchitecture, match=message):
        forward(Remembers(), **keywords)


def test_attention_without_a_context_is_refused():
    """Each forward call has its own; outside of `attending` there is none, also after one."""
    forward(Remembers())
    with pytest.raises(UnsupportedArchitecture, match="no attention context is bound"):
        attention_forward(Module(), *[torch.zeros(1, 2, 5, 16)] * 3, attention_mask=None)


def test_contexts_nest():
    """The inner one ends with its block."""
    outer, inner = Remembers(), Remembers()
    with attending(outer):
        forward(inner)
        assert current_context() is outer
