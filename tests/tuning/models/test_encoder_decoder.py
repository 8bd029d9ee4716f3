"""Loss and gradient of encoder-decoders against PEFT's own: one example at a time, unpadded, nothing recomputed."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel

from server.tuning.encoding import EncodedExample
from server.tuning.models.choice import build_model
from server.tuning.models.encoder_decoder import EncoderDecoderModel
from server.tuning.plan import Initialisation, Method, TuningPlan
from tests.fakes.tokenizers import byte_level
from tests.tuning.heads import build_encoder_decoder, encoder_decoder_from, peft_around

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

EXAMPLES = [
    EncodedExample((5, 6, 7), (8, 9, 1)),
    EncodedExample((11, 12), (13, 1)),
    EncodedExample((20, 21, 22, 23, 24, 25, 26, 27, 28, 29), (30, 31, 32, 33, 1)),
]
NUM_VIRTUAL = 5
ARCHITECTURES = ["t5", "t5-gated", "bart", "mbart", "pegasus"]


def plan_of(method: Method, initialisation: Initialisation = Initialisation.RANDOM) -> TuningPlan:
    return TuningPlan(method=method, initialisation=initialisation, num_virtual_tokens=NUM_VIRTUAL)


def build(architecture: str, plan: TuningPlan, memory_bytes: int | None = None) -> EncoderDecoderModel:
    loaded = encoder_decoder_from(build_encoder_decoder(architecture))
    model = build_model(loaded, byte_level(), plan, (), memory_bytes)
    assert isinstance(model, EncoderDecoderModel)
    return model


def peft_loss(peft: PeftModel, example: EncodedExample, given: tuple[int, ...]) -> torch.Tensor:
    """The summed loss of one example's answer; a token that generation forces is given and not learnt."""
    inputs = torch.tensor([[*given, *example.completion[:-1]]])
    labels = torch.tensor([[*[-100] * (len(given) - 1), *example.completion]])
    loss = peft(input_ids=torch.tensor([example.prompt]), decoder_input_ids=inputs, labels=labels).loss
    return loss * len(example.completion)


@pytest.mark.parametrize("memory_bytes", [None, 0])
@pytest.mark.parametrize("method", [method for method in Method if method is not Method.CARTRIDGE])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradient_are_pefts_own(architecture, method, memory_bytes):
    """PEFT has rows for the decoder too, by default. They get no gradient, so ours are the encoder's alone."""
    model = build(architecture, plan_of(method), memory_bytes)
    peft = peft_around(build_encoder_decoder(architecture), method, "SEQ_2_SEQ_LM", NUM_VIRTUAL)
    ours = dict(model.prompt._encoder.named_parameters())
    theirs = dict(peft.prompt_encoder["default"].named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter[: len(ours[name])] = ours[name]
    losses = [peft_loss(peft, example, model._before) for example in EXAMPLES]
    for loss in losses:
        loss.backward()
    expected = sum(float(loss.detach()) for loss in losses)
    (batch,) = model.batches(EXAMPLES)
    assert model.backward(batch, 1.0) == pytest.approx(expected, rel=1e-4)
    judged = model.judge(batch)
    assert float(judged.losses.sum()) == pytest.approx(expected, rel=1e-4)
    for name, parameter in ours.items():
        grad = theirs[name].grad
        assert not grad[len(parameter) :].any()
        largest = float(grad.abs().max())
        torch.testing.assert_close(parameter.grad, grad[: len(parameter)], rtol=1e-3, atol=1e-4 * largest)
    if method is not Method.PREFIX_TUNING:
        assert model._pass.recomputation.num_recomputed == (0 if memory_bytes is None else 4)
