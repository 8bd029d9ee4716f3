"""The divergence of a student from its teacher, and its gradient, against PEFT and plain transformers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from server.tuning.distillation.teacher import shared_beginning
from server.tuning.encoding import EncodedExample
from server.tuning.models import distilled_decoder
from server.tuning.models.distilled_decoder import DistilledDecoder
from server.tuning.plan import Initialisation, Method, TuningPlan
from tests.fakes.tokenizers import byte_level
from tests.parity.architectures import build
from tests.tuning.models.test_decoder import NUM_VIRTUAL, oracle
from tests.tuning.tiny import loaded_from

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

INSTRUCTION = (40, 41, 42, 43, 44, 45, 46, 47, 48)
EXAMPLES = [
    EncodedExample((5, 6, 7), (8, 9, 0), teacher=(*INSTRUCTION, 5, 6, 7)),
    EncodedExample((11, 12), (13, 0), teacher=(*INSTRUCTION, 11, 12)),
    EncodedExample((20, 21, 22, 23, 24, 25), (30, 31, 32, 0), teacher=(*INSTRUCTION, 50, 20, 21, 22, 23, 24, 25)),
]


def student_of(architecture: str, method: Method) -> DistilledDecoder:
    """A student whose prompt starts as PEFT's own does."""
    plan = TuningPlan(method=method, initialisation=Initialisation.RANDOM, num_virtual_tokens=NUM_VIRTUAL)
    return DistilledDecoder(loaded_from(build(architecture)), byte_level(), plan, shared_beginning(EXAMPLES))


def reference_losses(teacher, student, example: EncodedExample) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(teacher || student) at each answer token, and whether the most likely tokens agree: one example, unpadded."""
    num_targets = len(example.completion)
    with torch.no_grad():
        ids = torch.tensor([example.teacher + example.completion])
        taught = teacher(input_ids=ids).logits[0, -num_targets - 1 : -1].float()
    ids = torch.tensor([example.prompt + example.completion])
    learnt = student(input_ids=ids).logits[0, -num_targets - 1 : -1].float()
    p, q = functional.softmax(taught, -1), functional.log_softmax(learnt, -1)
    return (p * (p.log() - q)).sum(-1), taught.argmax(-1) == learnt.argmax(-1)


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        ("llama", Method.PREFIX_TUNING),
        ("llama", Method.PROMPT_TUNING),
        ("llama", Method.CARTRIDGE),
        ("gpt2", Method.PREFIX_TUNING),
        ("gemma3", Method.PREFIX_TUNING),
    ],
)
def test_divergence_and_gradient_are_those_of_peft(architecture, method):
    """The teacher is the base model with the text in its context, the student PEFT's model without it."""
    model = student_of(architecture, method)
    peft = oracle(architecture, method, model.prompt.model.prompt_encoder["default"].state_dict())
    teacher = build(architecture)
    expected = [reference_losses(teacher, peft, example) for example in EXAMPLES]
    (batch,) = model.batches(EXAMPLES)
    order = [EXAMPLES.index(example) for example in batch.examples]
    judged = model.judge(batch)
    wanted = torch.cat([expected[index][0] for index in order]).detach()
    torch.testing.assert_close(judged.losses, wanted, rtol=1e-4, atol=1e-5)
    assert judged.is_right.tolist() == torch.cat([expected[index][1] for index in order]).tolist()
    total = sum(losses.sum() for losses, _ in expected)
    total.backward()
    assert model.backward(batch, 1.0) == pytest.approx(float(total.detach()), rel=1e-4)
    (found,) = model.prompt.parameters
    (sought,) = [one for one in peft.parameters() if one.requires_grad]
    torch.testing.assert_close(found.grad, sought.grad, rtol=1e-3, atol=1e-5)


def spaced_student(architecture: str, num_virtual_tokens: int) -> DistilledDecoder:
    """A student whose prefix starts from evenly spaced tokens of the instruction."""
    plan = TuningPlan(
        method=Method.PREFIX_TUNING, initialisation=Initialisation.INSTRUCTION, num_virtual_tokens=num_virtual_tokens
    )
    return DistilledDecoder(loaded_from(build(architecture)), byte_level(), plan, INSTRUCTION)


def whole_cache(architecture: str):
    """Keys and values of the whole instruction, by transformers."""
    ids = torch.tensor([INSTRUCTION])
    return build(architecture)(input_ids=ids, use_cache=True).past_key_values.layers


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_a_prefix_of_all_tokens_is_the_teacher_itself(architecture):
    """The first pass and the second one agree where no token moves."""
    found = spaced_student(architecture, len(INSTRUCTION)).prompt.key_values()
    for layer, whole in zip(found, whole_cache(architecture), strict=True):
        torch.testing.assert_close(layer.keys, whole.keys[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.values, whole.values[0], rtol=1e-4, atol=1e-5)


def test_a_prefix_starts_from_spaced_tokens_that_read_all():
    """Their values are those in the whole text, and their keys are rotated to the positions where they stand now."""
    rows = torch.tensor([0, 4, 8])
    rotary = build("llama").model.rotary_emb
    for layer, whole in zip(spaced_student("llama", 3).prompt.key_values(), whole_cache("llama"), strict=True):
        torch.testing.assert_close(layer.values, whole.values[0][:, rows], rtol=1e-4, atol=1e-5)
        keys = whole.keys[:, :, rows]
        cos, sin = rotary(keys, (torch.arange(3) - rows)[None])
        moved, _ = apply_rotary_pos_emb(keys, keys, cos, sin)
        torch.testing.assert_close(layer.keys, moved[0], rtol=1e-4, atol=1e-5)


def test_a_batch_is_its_examples_one_by_one():
    """The divergences of a flat batch are those of each example alone."""
    model = student_of("llama", Method.PREFIX_TUNING)
    (batch,) = model.batches(EXAMPLES)
    alone = [model.judge(next(iter(model.batches([example])))).losses for example in batch.examples]
    torch.testing.assert_close(model.judge(batch).losses, torch.cat(alone), rtol=1e-5, atol=1e-6)


def test_the_teacher_reads_each_example_once(monkeypatch):
    """Its hidden states are kept as far as there is room; without room the numbers are the same."""
    model = student_of("llama", Method.PREFIX_TUNING)
    passes = []
    behind = model._pass.hidden_behind
    monkeypatch.setattr(model._pass, "hidden_behind", lambda *args: passes.append(1) or behind(*args))
    first = [model.judge(batch).losses for batch in model.batches(EXAMPLES) for _ in range(2)]
    again = [model.judge(batch).losses for batch in model.batches(EXAMPLES)]
    assert len(passes) == len(EXAMPLES)
    monkeypatch.setattr(distilled_decoder, "_MAX_KEPT_BYTES", 0)
    model = student_of("llama", Method.PREFIX_TUNING)
    bare = [model.judge(batch).losses for batch in model.batches(EXAMPLES)]
    torch.testing.assert_close(first[0], bare[0])
    torch.testing.assert_close(again[0], first[0], rtol=0, atol=0)


def test_the_shared_beginning_leaves_each_prompt_a_token():
    """Also where one prompt is the beginning of another, or all are equal."""
    prompts = [(1, 2, 3, 4), (1, 2, 3), (1, 2, 3, 5)]
    examples = [EncodedExample((9,), (0,), teacher=prompt) for prompt in prompts]
    assert shared_beginning(examples) == (1, 2)
    assert shared_beginning(examples[:1]) == (1, 2, 3)
