"""Weights of bfloat16 and of 8 bits that are multiplied in float32: their numbers' own product, row by row."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from server.model.cpu.int8_weight import quantise_weight
from server.model.cpu.widened_weight import LANES, to_bfloat16, to_int8

# This CPU's own vectors, those of smaller CPUs, which it computes too, and PyTorch's product.
MANY_LANES = [lanes for lanes in (16, 8, 0) if lanes <= LANES]
FORMS = {"bfloat16": to_bfloat16, "int8": to_int8}
SHAPES = [(64, 16), (70, 301), (128, 33), (1, 7), (200, 256)]
AFTER = {
    "none": lambda product, term: product,
    "swish": lambda product, term: F.silu(product),
    "gelu": lambda product, term: F.gelu(product),
    "mul": lambda product, term: product * term,
    "add": lambda product, term: product + term,
}


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


@pytest.fixture(params=MANY_LANES)
def lanes(request):
    return request.param


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def difference(actual, expected):
    return float((actual.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_rounded_once(shape, form, lanes):
    """As PyTorch rounds to bfloat16, and as the other form of 8 bits; an embedding looks up the same rows."""
    weight = numbers(*shape)
    packed = form(weight, lanes)
    expected = weight.bfloat16().float() if form is to_bfloat16 else quantise_weight(weight, 0).dense()
    ids = torch.tensor([[0, shape[0] - 1], [shape[0] // 2, 0]])
    assert packed.shape == shape
    assert torch.equal(packed.dense(), expected) and torch.equal(packed.rows(ids), expected[ids])


def test_a_weight_of_bfloat16_numbers_is_itself(lanes):
    """Also -0.0, the smallest numbers and what is not finite."""
    weight = torch.tensor([[1.5, -0.0, 1e-40, float("inf")], [-(2.0**-126), 3.0, float("-inf"), 7.0]]).bfloat16()
    assert torch.equal(
        to_bfloat16(weight.float(), lanes).dense().bfloat16().view(torch.int16), weight.view(torch.int16)
    )


def test_a_transposed_weight_is_the_weight(form, lanes):
    """GPT-2 stores its layers so."""
    weight = numbers(64, 128)
    assert torch.equal(form(weight.t(), lanes).dense(), form(weight.t().contiguous(), lanes).dense())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_product_is_that_of_the_stored_numbers(shape, form, lanes):
    """With every number of rows of a tile, a last panel that is not full, and an odd number of inputs."""
    packed = form(numbers(*shape), lanes)
    for num_rows in (1, 2, 3, 4, 5, 6, 7, 40):
        hidden = numbers(num_rows, shape[1], seed=num_rows)
        expected = hidden.double() @ packed.dense().double().t()
        assert difference(packed.multiply(hidden, None, "none"), expected) < 1e-6


@pytest.mark.parametrize("after", AFTER)
def test_bias_and_what_follows_are_added(after, form, lanes):
    """Large sums of either sign do not overflow in SiLU."""
    packed, bias = form(numbers(70, 48) * 20, lanes), numbers(70)
    hidden, term = numbers(1, 5, 48), numbers(1, 5, 70)
    actual = packed.multiply(hidden, bias, after, term if after in ("mul", "add") else None)
    product = hidden.double() @ packed.dense().double().t() + bias.double()
    assert difference(actual, AFTER[after](product, term.double())) < 1e-6


def test_a_row_alone_is_the_row_among_others(form, lanes):
    """Bit for bit, since sums are added up in the order of the inputs; PyTorch's have several orders."""
    packed, hidden = form(numbers(192, 96), lanes), numbers(45, 96)
    together = packed.multiply(hidden, None, "swish")
    alone = torch.cat([packed.multiply(row[None], None, "swish") for row in hidden])
    assert torch.equal(together, alone) if lanes else difference(together, alone.double()) < 1e-6


def test_every_instruction_set_gives_the_same_bits(form):
    """Machines of a fleet answer alike, as far as their layers do."""
    weight, hidden = numbers(100, 65), numbers(9, 65)
    first, *others = [form(weight, lanes).multiply(hidden, None, "none") for lanes in MANY_LANES if lanes]
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_stays_so(value, form, lanes):
    """The engine finds a broken sequence by it; the rows beside it are untouched."""
    packed, hidden = form(numbers(64, 32), lanes), numbers(3, 32)
    expected = packed.multiply(hidden, None, "none")
    hidden[1, 5] = value
    product = packed.multiply(hidden, None, "none")
    assert torch.equal(product[[0, 2]], expected[[0, 2]])
    assert not product[1].isfinite().any()


def test_threads_and_no_rows_at_all(form, lanes):
    """More threads than there are panels."""
    packed, hidden = form(numbers(130, 64), lanes), numbers(7, 64)
    alone = packed.multiply(hidden, None, "none")
    torch.set_num_threads(4)
    try:
        assert torch.equal(packed.multiply(hidden, None, "none"), alone)
    finally:
        torch.set_num_threads(1)
    assert packed.multiply(hidden[:0], None, "none").shape == (0, 130)


def test_rows_of_other_strides_and_dtypes(form, lanes):
    """They are laid side by side first, or multiplied by PyTorch."""
    packed, hidden = form(numbers(70, 48), lanes), numbers(5, 96)
    expected = packed.multiply(hidden[:, ::2].contiguous(), None, "none")
    assert torch.equal(packed.multiply(hidden[:, ::2], None, "none"), expected)
    assert difference(packed.multiply(hidden[:, ::2].double(), None, "none"), expected.double()) < 1e-6


def test_bytes_of_the_numbers(form, lanes):
    """Half and a quarter of float32's, and four bytes per output for a scale."""
    bits = form(numbers(128, 64), lanes)
    assert bits.nbytes == (128 * 64 * 2 if form is to_bfloat16 else 128 * 64 + 128 * 4)
