"""Weights of 8 bits: the integers' own product, exactly, on every instruction set; a row never depends on another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from server.model.cpu.int8_weight import BLOCK, KIND, quantise_rows, quantise_weight

# This CPU's own instruction set, those of smaller CPUs, which it computes too, and PyTorch's product.
KINDS = list(range(KIND + 1))
SHAPES = [(64, 16), (70, 301), (128, 33), (1, 7), (200, 256)]
AFTER = {
    "none": lambda product, term: product,
    "swish": lambda product, term: F.silu(product),
    "gelu": lambda product, term: F.gelu(product),
    "mul": lambda product, term: product * term,
    "add": lambda product, term: product + term,
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def integers(*shape, seed=0):
    """From -127 to 127, with 127 in each block: quantised with scale 1, they are themselves."""
    numbers = torch.randint(-127, 128, shape, generator=torch.Generator().manual_seed(seed)).float()
    numbers[..., ::BLOCK] = 127
    return numbers


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def reference(hidden, weight, bias=None):
    """The definition in float64: round, multiply integers, scale each block and each output."""
    integers, scales = quantise_rows(hidden)
    packed = quantise_weight(weight, 0)
    columns = F.pad(packed.integers(), (0, -weight.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    sums = torch.einsum("rbi,obi->rbo", integers.double(), columns.double())
    product = (sums * scales.double()).sum(1) * packed.scales.double()
    return product if bias is None else product + bias.double()


def difference(actual, expected):
    return float((actual.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_integers_are_exact(shape, kind):
    """Bit for bit, with every number of rows of a tile, a last panel that is not full, and an odd number of inputs."""
    weight = integers(*shape)
    packed = quantise_weight(weight, kind)
    for num_rows in (1, 2, 3, 4, 5, 6, 7, 40):
        hidden = integers(num_rows, shape[1], seed=num_rows)
        expected = (hidden.double() @ weight.double().t()).float()
        assert torch.equal(packed.multiply(hidden, None, "none"), expected)


def test_the_largest_integers_do_not_saturate(kind):
    """Pairs of products pass 16 bits: AVX2's product of bytes would stop at 32,767."""
    weight = torch.full((64, 128), 127.0)
    for sign in (1, -1):
        product = quantise_weight(weight, kind).multiply(sign * weight[:2], None, "none")
        assert torch.equal(product, torch.full((2, 64), sign * 127.0 * 127 * 128))


def test_any_numbers_are_the_definitions(kind):
    """Of weights and rows with one scale each; ties round to even, as PyTorch's do."""
    weight, hidden, bias = numbers(130, 77), numbers(3, 5, 77, seed=1), numbers(130, seed=2)
    expected = reference(hidden.reshape(15, 77), weight, bias).reshape(3, 5, 130)
    assert difference(quantise_weight(weight, kind).multiply(hidden, bias, "none"), expected) < 1e-6


@pytest.mark.parametrize("after", AFTER)
def test_bias_and_what_follows_are_added(after, kind):
    """Large sums of either sign do not overflow in SiLU."""
    weight, hidden, term, bias = numbers(70, 48) * 20, numbers(1, 5, 48), numbers(1, 5, 70), numbers(70)
    actual = quantise_weight(weight, kind).multiply(hidden, bias, after, term if after in ("mul", "add") else None)
    expected = AFTER[after](reference(hidden[0], weight, bias)[None], term.double())
    assert difference(actual, expected) < 1e-6


def test_a_row_alone_is_the_row_among_others(kind):
    """Bit for bit, since blocks have scales of their own and are added in one order; PyTorch's sums have several."""
    packed, hidden = quantise_weight(numbers(192, 96), kind), numbers(45, 96)
    hidden[7] *= 1000
    together = packed.multiply(hidden, None, "swish")
    alone = torch.cat([packed.multiply(row[None], None, "swish") for row in hidden])
    assert torch.equal(together, alone) if kind else difference(together, alone.double()) < 1e-6


def test_every_instruction_set_gives_the_same_bits():
    """Machines of a fleet answer alike, as far as their layers do."""
    weight, hidden = numbers(100, 65), numbers(9, 65)
    first, *others = [quantise_weight(weight, kind).multiply(hidden, None, "none") for kind in KINDS if kind]
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_stays_so(value, kind):
    """The engine finds a broken sequence by it; the rows beside it are untouched."""
    packed, hidden = quantise_weight(numbers(64, 32), kind), numbers(3, 32)
    expected = packed.multiply(hidden, None, "none")
    hidden[1, 5] = value
    product = packed.multiply(hidden, None, "none")
    assert torch.equal(product[[0, 2]], expected[[0, 2]])
    assert not product[1].isfinite().any()


def test_rows_of_zeros_are_zeros(kind):
    """And so are outputs without weights."""
    weight = numbers(64, 32)
    weight[3] = 0
    product = quantise_weight(weight, kind).multiply(torch.cat([numbers(1, 32), torch.zeros(1, 32)]), None, "none")
    assert not product[1].any() and product[0, 3] == 0 and product[0].count_nonzero() == 63


def test_threads_and_no_rows_at_all(kind):
    """More threads than there are panels."""
    packed, hidden = quantise_weight(numbers(130, 64), kind), numbers(7, 64)
    alone = packed.multiply(hidden, None, "none")
    torch.set_num_threads(4)
    try:
        assert torch.equal(packed.multiply(hidden, None, "none"), alone)
    finally:
        torch.set_num_threads(1)
    assert packed.multiply(hidden[:0], None, "none").shape == (0, 130)


def test_rows_and_the_whole_weight_come_back(kind):
    """An embedding looks up the rows that a head multiplies, within half a step of the original."""
    weight = numbers(130, 33)
    packed = quantise_weight(weight, kind)
    dense, ids = packed.dense(), torch.tensor([[0, 64], [129, 5]])
    assert torch.equal(packed.rows(ids), dense[ids])
    assert bool(((dense - weight).abs() <= packed.scales[:, None] * 0.501).all())
