"""Loss and gradient of heads against PEFT's own: one example at a time, unpadded, nothing recomputed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from server.tuning.encoding import EncodedExample
from server.tuning.errors import TuningUnsupported
from server.tuning.models.choice import build_model
from server.tuning.plan import Initialisation, Method, TaskType, TuningPlan
from tests.fakes.tokenizers import byte_level
from tests.parity.architectures import build
from tests.tuning.heads import ENCODERS, build_encoder, encoder_from, peft_around
from tests.tuning.tiny import loaded_from

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

EXAMPLES = [
    EncodedExample((5, 6, 7), (), 2),
    EncodedExample((11, 12), (), 0),
    EncodedExample((20, 21, 22, 23, 24, 25, 26, 27, 28, 29), (), 1),
]
LABELS = ("a", "b", "c")
NUM_VIRTUAL = 5
PREFIXED = ("bert", "roberta", "electra")
GIVEN = {"distilbert": {"token_dim": 32, "num_attention_heads": 4}, "albert": {"token_dim": 16}}
"""Sizes that PEFT does not find in a configuration, or takes from another field."""


class Letters:
    """Of a tokenizer, what a text to begin with needs: ids that every tiny base model has rows for."""

    IDS = (5, 6, 7, 8, 9)
    vocab_size = num_ids = 61
    special_token_ids = frozenset()

    def encode(self, text, *, add_special_tokens=None):
        return self.IDS


class HeldPooler:
    """Of the heads of a base model, a pooler that its files hold."""

    def __init__(self, whole) -> None:
        self._parameters = {name: one for name, one in whole.named_parameters() if name.startswith("pooler.")}

    def held(self, name: str, backbone: str) -> torch.Tensor | None:
        return self._parameters.get(name)


def plan_of(method: Method, initialisation: Initialisation = Initialisation.RANDOM) -> TuningPlan:
    return TuningPlan(
        method=method, initialisation=initialisation, num_virtual_tokens=NUM_VIRTUAL, task_type=TaskType.SEQ_CLS
    )


def whole_model(base):
    """transformers' own class over the weights of a base model."""
    config = type(base.config).from_dict({**base.config.to_dict(), "num_labels": len(LABELS)})
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    own = getattr(model, model.base_model_prefix)
    own.load_state_dict(base.base_model.state_dict(), strict=False)
    return model.requires_grad_(False).eval()


def compare(model, peft) -> None:
    """Give PEFT's model the values of ours, and compare losses, gradients and saved names."""
    prompt = model.prompt
    peft.prompt_encoder["default"].load_state_dict(prompt._encoder.state_dict())
    theirs = {name: one for name, one in peft.named_parameters() if one.requires_grad}
    ours = {name: one for name, one in prompt.model.named_parameters() if one.requires_grad}
    assert theirs.keys() == ours.keys()
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(ours[name])
    expected = 0.0
    for example in EXAMPLES:
        loss = peft(input_ids=torch.tensor([example.prompt]), labels=torch.tensor([example.label])).loss
        loss.backward()
        expected += float(loss.detach())
    batches = list(model.batches(EXAMPLES))
    assert sum(batch.num_examples for batch in batches) == len(EXAMPLES)
    assert sum(model.backward(batch, 1.0) for batch in batches) == pytest.approx(expected, rel=1e-4)
    assert sum(float(model.judge(batch).losses.sum()) for batch in batches) == pytest.approx(expected, rel=1e-4)
    for name, parameter in ours.items():
        largest = float(theirs[name].grad.abs().max())
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("memory_bytes", [None, 0])
@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2", "opt"])
def test_a_head_on_a_decoder_has_pefts_loss_and_gradient(architecture, method, memory_bytes):
    """Of the prompt and of the head, in one flat micro-batch, with kept and with recomputed layers."""
    peft = peft_around(whole_model(build(architecture)), method, "SEQ_CLS", NUM_VIRTUAL)
    loaded = loaded_from(build(architecture))
    model = build_model(loaded, byte_level(), plan_of(method), LABELS, memory_bytes)
    compare(model, peft)


@pytest.mark.parametrize("memory_bytes", [None, 0])
@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        *[(name, method) for name in ENCODERS for method in (Method.PROMPT_TUNING, Method.P_TUNING)],
        *[(name, Method.PREFIX_TUNING) for name in PREFIXED],
    ],
)
def test_a_head_on_an_encoder_has_pefts_loss_and_gradient(architecture, method, memory_bytes):
    """Of the prompt and of the head, in padded micro-batches. DeBERTa's pooler comes from the base model's files."""
    base = build_encoder(architecture)
    whole = whole_model(base)
    heads = HeldPooler(whole) if architecture == "deberta" else None
    peft = peft_around(whole, method, "SEQ_CLS", NUM_VIRTUAL, **GIVEN.get(architecture, {}))
    model = build_model(encoder_from(base), byte_level(), plan_of(method), LABELS, memory_bytes, heads)
    compare(model, peft)
    if method is not Method.PREFIX_TUNING:
        recomputation = model._pass.recomputation
        assert recomputation.num_recomputed == (0 if memory_bytes is None else len(recomputation._layers))


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
@pytest.mark.parametrize("method", [Method.PROMPT_TUNING, Method.PREFIX_TUNING])
def test_a_prompt_can_begin_with_tokens(architecture, method):
    """Keys and values too: an encoder computes them, though it keeps none."""
    loaded = encoder_from(build_encoder("bert")) if architecture == "bert" else loaded_from(build(architecture))
    plan = replace(plan_of(method), initialisation=Initialisation.TEXT, init_text="abcde")
    model = build_model(loaded, Letters(), plan, LABELS)
    matrix = model.prompt.matrix()
    assert matrix.shape[0] == NUM_VIRTUAL and float(matrix.std()) > 0
    if method is Method.PROMPT_TUNING:
        expected = loaded.model.get_input_embeddings()(torch.tensor(Letters.IDS))
        torch.testing.assert_close(matrix, expected)


def test_what_peft_neither_trains_nor_saves_is_refused():
    """DeBERTa's pooler is a part of its head, and the base model's weights do not hold it."""
    with pytest.raises(TuningUnsupported, match=r"DebertaV2ForSequenceClassification has pooler\.dense"):
        build_model(encoder_from(build_encoder("deberta")), byte_level(), plan_of(Method.PROMPT_TUNING), LABELS)


def test_an_encoder_without_its_pooler_is_refused():
    """Files of a masked language model lack it."""
    base = build_encoder("bert")
    base.pooler = None
    with pytest.raises(TuningUnsupported, match="BertForSequenceClassification has pooler"):
        build_model(encoder_from(base), byte_level(), plan_of(Method.PROMPT_TUNING), LABELS)


@pytest.mark.parametrize("architecture", ["distilbert", "deberta", "albert"])
def test_keys_and_values_that_an_encoder_does_not_take_are_refused(architecture):
    """PEFT cannot hand them over either."""
    base = build_encoder(architecture)
    heads = HeldPooler(whole_model(base))
    with pytest.raises(TuningUnsupported, match=f"{base.config.model_type} models take no keys and values"):
        build_model(encoder_from(base), byte_level(), plan_of(Method.PREFIX_TUNING), LABELS, heads=heads)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_head_begins_as_transformers_begins_it(seed):
    """Of the seed, and without a trace in the random state of the process."""
    loaded, plan = encoder_from(build_encoder("roberta")), replace(plan_of(Method.PROMPT_TUNING), seed=seed)
    tokenizer = byte_level()
    before = torch.get_rng_state()
    first, again = (build_model(loaded, tokenizer, plan, LABELS).prompt.head_values() for _ in range(2))
    assert all(map(torch.equal, first, again))
    other = build_model(loaded, byte_level(), replace(plan, seed=7), LABELS).prompt.head_values()
    assert not torch.equal(first[0], other[0])
    assert float(first[0].std()) == pytest.approx(loaded.model.config.initializer_range, rel=0.2)
    assert not first[1].any()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_serving_tree_is_left_alone():
    """Training modes, gradients and the head stay in the twin, also where the backbone loses its pooler."""
    loaded = encoder_from(build_encoder("roberta"))
    modules = [name for name, _ in loaded.model.named_modules()]
    model = build_model(loaded, byte_level(), plan_of(Method.PROMPT_TUNING), LABELS)
    for batch in model.batches(EXAMPLES):
        model.backward(batch, 1.0)
    assert [name for name, _ in loaded.model.named_modules()] == modules
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in loaded.model.parameters())


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2"])
def test_micro_batches_are_bounded(architecture):
    """By the positions that are computed, padding included; a longer example is alone."""
    loaded = loaded_from(build("gpt2")) if architecture == "gpt2" else encoder_from(build_encoder(architecture))
    plan = replace(plan_of(Method.PROMPT_TUNING), max_micro_batch_tokens=24)
    model = build_model(loaded, byte_level(), plan, LABELS)
    examples = [EncodedExample(tuple(range(5, 5 + length)), (), length % 3) for length in (3, 4, 4, 5, 9, 30)]
    found = list(model.batches(examples))
    assert sum(batch.num_examples for batch in found) == len(examples)
    for batch in found[:-1]:
        if architecture == "gpt2":
            assert NUM_VIRTUAL + len(batch.token_ids) <= 24
        else:
            assert batch.num_examples * (NUM_VIRTUAL + batch.token_ids.shape[1]) <= 24
    assert found[-1].num_examples == 1
