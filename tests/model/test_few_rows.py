"""Products of a few rows with a packed weight: the plain product's numbers, for every shape and instruction set."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from server.model.cpu import few_rows
from server.model.cpu.attention import is_built
from server.model.cpu.few_rows import MAX_ROWS, panels_of

pytestmark = pytest.mark.skipif(not (is_built() and MAX_ROWS), reason="no C module, or nothing in it for this CPU")

SHAPES = [(64, 16), (70, 300), (128, 33), (1, 7), (200, 256)]
AFTER = {
    "none": lambda product, term: product,
    "swish": lambda product, term: F.silu(product),
    "mul": lambda product, term: product * term,
    "add": lambda product, term: product + term,
}


def packed(weight):
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def narrower_lanes():
    """The CPU's own vectors, and those of a smaller CPU: it computes them too."""
    return [lanes for lanes in (16, 8) if lanes <= few_rows.LANES]


@pytest.fixture(params=narrower_lanes())
def lanes(request, monkeypatch):
    monkeypatch.setattr(few_rows, "LANES", request.param)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def difference(actual, expected):
    return float((actual.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_product_is_that_of_the_weight(shape, lanes):
    """From one row to the most, with a last panel that is not full, and inputs that are no multiple of a vector."""
    weight = numbers(*shape)
    panels = panels_of(packed(weight), weight)
    if panels is None:
        pytest.skip("oneDNN lays a weight of this shape out in another way")
    for num_rows in range(1, MAX_ROWS + 1):
        hidden = numbers(num_rows, shape[1], seed=num_rows)
        product = panels.multiply(hidden, None, "none")
        assert product.shape == (num_rows, shape[0])
        assert difference(product, hidden.double() @ weight.double().t()) < 1e-6


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("has_bias", [False, True])
def test_bias_and_what_follows_are_added(after, has_bias, lanes):
    """In leading dimensions of any number; large sums of either sign do not overflow in SiLU."""
    weight, hidden, term = numbers(70, 48) * 20, numbers(1, 5, 48), numbers(1, 5, 70)
    bias = numbers(70) if has_bias else None
    panels = panels_of(packed(weight), weight)
    actual = panels.multiply(hidden, bias, after, term if after in ("mul", "add") else None)
    product = F.linear(hidden.double(), weight.double(), None if bias is None else bias.double())
    assert difference(actual, AFTER[after](product, term.double())) < 1e-6


def test_a_row_alone_is_the_row_among_others(lanes):
    """Bit for bit: the sum over inputs has one order."""
    weight, hidden = numbers(192, 96), numbers(MAX_ROWS, 96)
    panels = panels_of(packed(weight), weight)
    together = panels.multiply(hidden, None, "none")
    alone = torch.cat([panels.multiply(row[None], None, "none") for row in hidden])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_stays_so(value, lanes):
    """The engine finds a broken sequence by it; the rows beside it are untouched."""
    weight, hidden = numbers(64, 32), numbers(3, 32)
    panels = panels_of(packed(weight), weight)
    expected = panels.multiply(hidden, None, "swish")
    hidden[1, 5] = value
    product = panels.multiply(hidden, None, "swish")
    assert torch.equal(product[[0, 2]], expected[[0, 2]])
    assert not product[1].isfinite().any()


def test_threads_share_the_panels(lanes):
    """More threads than there are panels, too."""
    weight, hidden = numbers(130, 64), numbers(2, 64)
    panels = panels_of(packed(weight), weight)
    alone = panels.multiply(hidden, None, "none")
    torch.set_num_threads(4)
    try:
        assert torch.equal(panels.multiply(hidden, None, "none"), alone)
    finally:
        torch.set_num_threads(1)


def test_other_rows_are_left_to_onednn():
    """Too many, none at all, or not side by side."""
    weight = numbers(64, 32)
    panels = panels_of(packed(weight), weight)
    for hidden in (numbers(MAX_ROWS + 1, 32), numbers(0, 32), numbers(32, 2).t()):
        assert panels.multiply(hidden, None, "none") is None


@pytest.mark.parametrize("term", [numbers(64), numbers(1, 64), numbers(3, 64).double()], ids=["row", "one", "double"])
def test_a_term_of_another_shape_or_type_is_left_to_onednn(term):
    """The C module reads one number of the term for each of the output."""
    weight, hidden = numbers(64, 32), numbers(3, 32)
    panels = panels_of(packed(weight), weight)
    assert panels.multiply(hidden, None, "add", term) is None
    assert panels.multiply(hidden, None, "add", numbers(3, 64)) is not None


def test_a_weight_that_lies_in_another_way_has_no_panels():
    """Half precision, and numbers that are not where panels would have them."""
    weight = numbers(64, 32)
    assert panels_of(packed(weight), weight.flip(0)) is None
    assert panels_of(packed(weight), numbers(32, 32)) is None
    assert panels_of(packed(weight), weight.bfloat16()) is None
