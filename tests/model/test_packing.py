"""Packed linear layers: the same numbers, the same gradients, one copy of each weight."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from server.model.cpu.pack_model import linear_bytes, pack_linears
from server.model.cpu.packing import JointLinear, PackedLinear, padded_rows
from server.model.twin import make_twin

SIZE = 256  # SIZE * SIZE weights are enough to be packed

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


def frozen(*layers: torch.nn.Module) -> torch.nn.Sequential:
    model = torch.nn.Sequential(*layers)
    model.requires_grad_(False)
    return model


def tied_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=SIZE,
        intermediate_size=2 * SIZE,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=300,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config)
    model.requires_grad_(False).train(False)
    return model


def make_layer(kind: str, bias: bool) -> torch.nn.Module:
    torch.manual_seed(1)
    if kind == "linear":
        return torch.nn.Linear(SIZE, SIZE + 7, bias=bias)
    layer = Conv1D(SIZE + 7, SIZE)
    torch.nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize(("kind", "bias"), [("linear", False), ("linear", True), ("conv1d", True)])
def test_product_and_input_gradient_are_the_layers_own(kind, bias):
    """Forward and backward agree with the layer that was replaced, for any leading shape."""
    layer = make_layer(kind, bias)
    model = frozen(layer)
    assert pack_linears(model).num_layers == 1
    assert isinstance(model[0], PackedLinear)
    for shape in [(SIZE,), (1, SIZE), (2, 3, SIZE), (0, SIZE)]:
        ours = torch.randn(shape, requires_grad=True)
        theirs = ours.detach().clone().requires_grad_()
        gradient = torch.randn(*shape[:-1], SIZE + 7)
        model(ours).backward(gradient)
        layer(theirs).backward(gradient)
        torch.testing.assert_close(model(ours), layer(theirs), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weight_can_be_read_back_bit_for_bit(dtype):
    """Packing moves numbers and changes none."""
    layer = torch.nn.Linear(SIZE, SIZE).to(dtype)
    weight = layer.weight.detach().clone()
    model = frozen(layer)
    if pack_linears(model).num_layers == 0:
        pytest.skip(f"oneDNN does not compute {dtype} on this CPU")
    assert torch.equal(model[0].weight, weight)


def test_the_original_is_let_go():
    """No parameter is left of a packed layer, and a matrix that is an embedding too is counted as held twice."""
    model = tied_llama()
    packing = pack_linears(model)
    embedding = model.get_input_embeddings().weight
    assert packing.num_layers == 2 * 7 + 1
    assert packing.num_bytes_twice == embedding.nbytes
    assert model.lm_head.weight.data_ptr() == embedding.data_ptr()
    norms = 2 * 2 + 1
    assert sum(p.numel() for p in model.parameters()) == embedding.numel() + norms * SIZE


def test_originals_are_freed_one_layer_after_the_other():
    """At any time few weights exist twice: those of the module that is being packed."""
    model = tied_llama()
    embedding = model.get_input_embeddings().weight
    originals = [
        (StorageWeakRef(module.weight.untyped_storage()), module.weight.nbytes)
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module.weight is not embedding
    ]
    total, num_done, twice = sum(num_bytes for _, num_bytes in originals), 0, []

    def progress(num_bytes: int) -> None:
        nonlocal num_done
        num_done += num_bytes
        num_alive = sum(num_bytes for storage, num_bytes in originals if not storage.expired())
        twice.append(num_alive - (total - num_done))

    assert linear_bytes(model) == total + embedding.nbytes
    pack_linears(model, progress)
    assert num_done == total + embedding.nbytes
    assert max(twice[:-1]) == 3 * SIZE * SIZE * 4  # the projections of one attention layer, which are packed as one
    assert all(storage.expired() for storage, _ in originals)


def test_only_frozen_exact_and_large_layers_are_packed():
    """A layer that learns, a small one and a subclass with a forward of its own stay as they are."""

    class Doubled(torch.nn.Linear):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(hidden)

    model = frozen(torch.nn.Linear(SIZE, SIZE), torch.nn.Linear(8, 8), Doubled(SIZE, SIZE))
    model[0].weight.requires_grad_(True)
    half = frozen(torch.nn.Linear(SIZE, SIZE, dtype=torch.float64))
    assert pack_linears(model).num_layers == 0
    assert pack_linears(half).num_layers == 0


def test_a_copy_shares_the_packed_tensor():
    """`copy.deepcopy`, as PEFT and transformers do it, gives a module of its own over the same weight."""
    model = frozen(torch.nn.Linear(SIZE, SIZE))
    pack_linears(model)
    copied = copy.deepcopy(model)
    assert copied[0] is not model[0]
    assert copied[0].packed is model[0].packed
    hidden = torch.randn(2, SIZE)
    assert torch.equal(copied(hidden), model(hidden))


class Projections(torch.nn.Module):
    """What an attention layer has under these names."""

    def __init__(self, *sizes: int, bias: bool = False) -> None:
        super().__init__()
        torch.manual_seed(2)
        for name, size in zip(("q_proj", "k_proj", "v_proj"), sizes, strict=True):
            self.add_module(name, torch.nn.Linear(SIZE, size, bias=bias))

    def forward(self, *hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.q_proj(hidden[0]), self.k_proj(hidden[-1]), self.v_proj(hidden[0])


@pytest.mark.parametrize("bias", [False, True])
def test_projections_of_one_input_are_one_product(bias):
    """Each gives what it gave, forward and backward, in any order, for one input or several; no original is left."""
    stock = Projections(SIZE, 64, 64, bias=bias)
    model = frozen(copy.deepcopy(stock))
    assert pack_linears(model).num_layers == 3
    joined = model[0]
    assert list(model.parameters()) == []
    assert joined.q_proj.joint is joined.v_proj.joint
    for name in ("q_proj", "k_proj", "v_proj"):
        assert torch.equal(joined.get_submodule(name).weight, stock.get_submodule(name).weight)
    for num_inputs in (1, 2, 1):
        ours = [torch.randn(2, 3, SIZE, requires_grad=True) for _ in range(num_inputs)]
        theirs = [hidden.detach().clone().requires_grad_() for hidden in ours]
        for actual, expected in zip(joined(*ours), stock(*theirs), strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
        sum(part.square().sum() for part in joined(*ours)).backward()
        sum(part.square().sum() for part in stock(*theirs)).backward()
        for actual, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-4, atol=1e-4)


def test_one_projection_asked_twice_is_computed_twice():
    """What is kept for the others is not taken for a second answer, and goes once each has had its part."""
    stock = Projections(SIZE, SIZE, SIZE)
    joined = frozen(copy.deepcopy(stock))
    pack_linears(joined)
    hidden = torch.randn(4, SIZE)
    for name in ("k_proj", "k_proj", "q_proj", "v_proj", "q_proj"):
        actual, expected = (model.get_submodule(name)(hidden) for model in (joined[0], stock))
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_copy_of_joint_projections_shares_the_weight_and_not_what_it_keeps():
    joined = frozen(Projections(SIZE, 64, 64))
    pack_linears(joined)
    first, second = joined[0], copy.deepcopy(joined)[0]
    assert second.q_proj.joint is second.k_proj.joint is not first.q_proj.joint
    assert second.q_proj.joint.whole.packed is first.q_proj.joint.whole.packed


def test_projections_that_do_not_fit_together_stay_apart():
    """One that learns, one with a bias of its own, one of another input."""
    learning, biased, other = (Projections(SIZE, SIZE, SIZE).requires_grad_(False) for _ in range(3))
    learning.k_proj.requires_grad_(True)
    biased.v_proj = torch.nn.Linear(SIZE, SIZE).requires_grad_(False)
    other.k_proj = torch.nn.Linear(2 * SIZE, SIZE, bias=False).requires_grad_(False)
    for model, num_packed in ((learning, 2), (biased, 3), (other, 3)):
        assert pack_linears(model).num_layers == num_packed
        assert not any(isinstance(module, JointLinear) for module in model.modules())


def test_a_shared_layer_stays_shared():
    """One module under two names is packed once."""
    layer = torch.nn.Linear(SIZE, SIZE)
    model = frozen(layer, torch.nn.ReLU(), layer)
    assert pack_linears(model).num_layers == 1
    assert model[0] is model[2]


def test_the_twin_learns_through_packed_layers():
    """The twin has modules of its own over the packed tensors; logits and gradients are the unpacked model's."""
    stock, packed = tied_llama(), tied_llama()
    pack_linears(packed)
    twin = make_twin(packed)
    assert isinstance(twin.lm_head, PackedLinear)
    assert twin.lm_head is not packed.lm_head
    assert twin.lm_head.packed is packed.lm_head.packed
    embeds = torch.randn(1, 5, SIZE, requires_grad=True)
    again = embeds.detach().clone().requires_grad_()
    ours, theirs = twin(inputs_embeds=embeds).logits, stock(inputs_embeds=again).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    ours.square().mean().backward()
    theirs.square().mean().backward()
    torch.testing.assert_close(embeds.grad, again.grad, rtol=1e-3, atol=1e-5)


def test_few_numbers_of_rows_are_ever_asked_for():
    """oneDNN keeps a kernel for each."""
    assert [padded_rows(number) for number in (0, 1, 33, 64, 65, 72, 73, 512)] == [0, 1, 33, 64, 72, 72, 80, 512]
    assert len({padded_rows(number) for number in range(1, 513)}) == 64 + (512 - 64) // 8
