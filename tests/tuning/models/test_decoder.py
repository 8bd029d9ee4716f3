"""Loss and gradient against PEFT's own: one example at a time, unpadded, nothing recomputed."""

from __future__ import annotations

import pytest
import torch
from peft import CartridgeConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, JetMoeConfig

from server.tuning.encoding import EncodedExample
from server.tuning.errors import TuningUnsupported
from server.tuning.models import flat_attention
from server.tuning.models.decoder import DecoderModel
from server.tuning.models.flat_batches import micro_batches
from server.tuning.plan import Initialisation, Method, TuningPlan
from tests.fakes.tokenizers import byte_level
from tests.parity.architectures import build
from tests.parity.oracle import given_sizes
from tests.tuning.tiny import loaded_from
from tests.tuning.trained import TRAINED

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

EXAMPLES = [
    EncodedExample((5, 6, 7), (8, 9, 0)),
    EncodedExample((11, 12), (13, 0)),
    EncodedExample((20, 21, 22, 23, 24, 25, 26, 27, 28, 29), (30, 31, 32, 0)),
]
NUM_VIRTUAL = 5
PLANS = {
    method: TuningPlan(method=method, initialisation=Initialisation.RANDOM, num_virtual_tokens=NUM_VIRTUAL)
    for method in Method
}


def oracle(architecture: str, method: Method, state: dict[str, torch.Tensor]) -> PeftModel:
    kinds = {
        Method.PROMPT_TUNING: PromptTuningConfig,
        Method.P_TUNING: PromptEncoderConfig,
        Method.PREFIX_TUNING: PrefixTuningConfig,
        Method.CARTRIDGE: CartridgeConfig,
    }
    base = build(architecture)
    extra = {"encoder_hidden_size": base.config.hidden_size} if method is Method.P_TUNING else {}
    config = kinds[method](task_type="CAUSAL_LM", num_virtual_tokens=NUM_VIRTUAL, **extra, **given_sizes(base.config))
    model = get_peft_model(base, config)
    model.prompt_encoder["default"].load_state_dict(state)
    return model


def test_a_prefix_that_the_model_has_no_keys_for_is_refused():
    """PEFT makes a key per query head, also where all heads share one."""
    with pytest.raises(TuningUnsupported, match="4 keys per token and layer, and this base model has 1"):
        DecoderModel(loaded_from(build("falcon")), byte_level(), PLANS[Method.PREFIX_TUNING], ())


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize(("architecture", "method"), TRAINED)
def test_loss_and_gradient_are_pefts_own(architecture, method, is_kept, monkeypatch):
    """A flat micro-batch with a head in parts gives PEFT's loss and gradient, with kept and with recomputed layers, and
    with both forms of causality."""
    if not is_kept:
        monkeypatch.setattr(flat_attention, "_MAX_MASK", 0)
    loaded = loaded_from(build(architecture))
    model = DecoderModel(loaded, byte_level(), PLANS[method], (), memory_bytes=None if is_kept else 0)
    model._max_targets = 4
    encoder = model.prompt._encoder
    peft = oracle(architecture, method, encoder.state_dict())
    expected = 0.0
    for example in EXAMPLES:
        ids = torch.tensor([[*example.prompt, *example.completion]])
        labels = torch.tensor([[*[-100] * len(example.prompt), *example.completion]])
        loss = peft(input_ids=ids, labels=labels).loss * len(example.completion)
        loss.backward()
        expected += float(loss.detach())
    (batch,) = micro_batches(EXAMPLES, num_virtual_tokens=NUM_VIRTUAL, max_tokens=512, device=torch.device("cpu"))
    assert model.backward(batch, 1.0) == pytest.approx(expected, rel=1e-4)
    assert float(model.judge(batch).losses.sum()) == pytest.approx(expected, rel=1e-4)
    is_never_recomputed = is_kept or architecture == "gpt-neox-japanese"  # transformers marks no layers of it
    assert (model._pass.recomputation.num_recomputed == 0) == is_never_recomputed
    theirs = dict(peft.prompt_encoder["default"].named_parameters())
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == (name != "frozen_embedding"), "the first row of a cartridge stays"
        if parameter.grad is None:
            continue
        largest = float(theirs[name].grad.abs().max())
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-4 * largest)


def test_keys_and_values_of_other_shapes_are_refused():
    """JetMoE repeats its KV heads before attention, which PEFT does not know."""
    sizes = {"hidden_size": 32, "kv_channels": 8, "num_key_value_heads": 2, "num_experts_per_tok": 2}
    config = JetMoeConfig(vocab_size=61, intermediate_size=48, num_hidden_layers=2, num_local_experts=4, **sizes)
    loaded = loaded_from(AutoModelForCausalLM.from_config(config, dtype=torch.float32))
    DecoderModel(loaded, byte_level(), PLANS[Method.PROMPT_TUNING], ())
    with pytest.raises(TuningUnsupported, match="2 keys per token and layer, and this base model has 4"):
        DecoderModel(loaded, byte_level(), PLANS[Method.PREFIX_TUNING], ())


def test_the_serving_tree_is_left_alone():
    """Training hooks, modes and gradients stay in the twin."""
    loaded = loaded_from(build("llama"))
    before = {name: parameter.clone() for name, parameter in loaded.model.named_parameters()}
    forwards = [dict(module.__dict__).get("forward") for module in loaded.model.modules()]
    model = DecoderModel(loaded, byte_level(), PLANS[Method.PROMPT_TUNING], ())
    (batch,) = micro_batches(EXAMPLES, num_virtual_tokens=NUM_VIRTUAL, max_tokens=512, device=torch.device("cpu"))
    model.backward(batch, 1.0)
    assert all(torch.equal(parameter, before[name]) for name, parameter in loaded.model.named_parameters())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in loaded.model.parameters())
    assert not any(module.training or module._forward_hooks for module in loaded.model.modules())
    assert [dict(module.__dict__).get("forward") for module in loaded.model.modules()] == forwards


class LargestTensor(TorchDispatchMode):
    """The most numbers that one operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.num_values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.num_values = max(self.num_values, result.numel())
        return result


@pytest.mark.parametrize("method", [Method.PROMPT_TUNING, Method.PREFIX_TUNING])
def test_a_long_example_makes_no_matrix_of_scores(method, monkeypatch):
    """A layer's memory grows with the length of an example, not with its square: 3.2 GB at 4,096 tokens of 16 heads."""
    model = DecoderModel(loaded_from(build("llama")), byte_level(), PLANS[method], ())
    long = EncodedExample(tuple(range(5, 45)), (8, 9, 0))
    (batch,) = micro_batches([long], num_virtual_tokens=NUM_VIRTUAL, max_tokens=512, device=torch.device("cpu"))
    num_scores = 4 * long.num_tokens**2
    monkeypatch.setattr(flat_attention, "_MAX_MASK", 0)
    with LargestTensor() as largest:
        model.backward(batch, 1.0)
    assert largest.num_values < num_scores
