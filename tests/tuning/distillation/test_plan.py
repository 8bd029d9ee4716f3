"""The plan of a distillation, and instructions that are refused."""

from __future__ import annotations

import pytest

from prompts_store.checkpoint_records import BaseKind
from prompts_store.manifest import Manifest
from server.tuning.distillation.plan import plan_distillation
from server.tuning.distillation.teacher import Teacher
from server.tuning.errors import PlanRefused
from server.tuning.example_line import Example
from server.tuning.plan import Initialisation, Method, new_plan
from server.tuning.teaching import Distillation
from tests.fakes.tokenizers import byte_level

LONG = "Answer in one word, and say yes where the text begins with a vowel. " * 3


def refusal(given: dict, instruction: str = LONG, kind: BaseKind = BaseKind.DECODER) -> tuple[str, str]:
    with pytest.raises(PlanRefused) as refused:
        plan_distillation(given, Distillation(instruction), byte_level(), kind)
    return refused.value.param, str(refused.value)


def test_a_prefix_starts_from_the_instruction():
    """By default 32 virtual tokens, or half of a short instruction's tokens. Rows start from its first tokens."""
    tokenizer = byte_level()
    plan = plan_distillation({}, Distillation(LONG), tokenizer, BaseKind.DECODER)
    assert (plan.method, plan.initialisation, plan.num_virtual_tokens) == (
        Method.PREFIX_TUNING,
        Initialisation.INSTRUCTION,
        32,
    )
    rows = plan_distillation({"method": "PROMPT_TUNING"}, Distillation(LONG), tokenizer, BaseKind.DECODER)
    assert LONG.startswith(rows.init_text)
    short = plan_distillation({}, Distillation("Yes or no?"), tokenizer, BaseKind.DECODER)
    assert short.num_virtual_tokens == len(tokenizer.encode("Yes or no?", add_special_tokens=False)) // 2
    chosen = plan_distillation(
        {"method": "PROMPT_TUNING", "initialisation": "RANDOM"}, Distillation(LONG), tokenizer, BaseKind.DECODER
    )
    assert (chosen.method, chosen.init_text) == (Method.PROMPT_TUNING, None)


@pytest.mark.parametrize(
    ("given", "param", "words"),
    [
        ({"num_virtual_tokens": 4096}, "num_virtual_tokens", "tokens: none would be saved"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens", "is from 1 to 4096"),
        ({"method": "P_TUNING"}, "method", "cannot start from the instruction"),
        ({"task_type": "SEQ_CLS"}, "task_type", "learns texts, not a head"),
        ({"initialisation": "LABELS"}, "initialisation", "have none"),
        ({"initialisation": "INSTRUCTION", "method": "PROMPT_TUNING"}, "initialisation", "has no keys and values"),
    ],
)
def test_settings_that_fit_no_distillation_are_refused(given, param, words):
    """By name, before a file is read."""
    found, message = refusal(given)
    assert found == param
    assert words in message


def test_without_a_teacher_there_is_no_instruction_to_start_from():
    """The plan of other methods refuses that initialisation."""
    with pytest.raises(PlanRefused, match="initialisation is INSTRUCTION, which a distillation alone has"):
        new_plan({"method": "PREFIX_TUNING", "initialisation": "INSTRUCTION"})


@pytest.mark.parametrize("kind", [BaseKind.ENCODER, BaseKind.ENCODER_DECODER])
def test_other_kinds_of_base_models_are_refused(kind):
    """There is no prefix before their input that stands for a text."""
    assert refusal({}, kind=kind) == (
        "type", f"type is distillation, which needs a decoder; the base model is of the kind {kind}",
    )  # fmt: skip


def test_an_instruction_without_anything_to_save_is_refused():
    """White space, and a single token."""
    with pytest.raises(PlanRefused, match="instruction is empty: there is nothing to distil"):
        Distillation(" \n")
    assert refusal({}, "a")[1] == "instruction has fewer than two tokens: a soft prompt would save none"


def test_an_instruction_longer_than_the_context_is_refused():
    """With the room that an answer needs, in words."""
    teacher = Teacher(byte_level(), Manifest(template="{input} ->\n"), Distillation(LONG, 16))
    teacher.check_instruction(4096)
    with pytest.raises(
        PlanRefused, match=r"instruction takes \d+ tokens with the shortest input, and there is room for 4"
    ):
        teacher.check_instruction(20)


def test_the_teacher_reads_the_text_as_it_stands():
    """Before the template, also with a placeholder in the text itself."""
    tokenizer = byte_level()
    teacher = Teacher(tokenizer, Manifest(template="> {input} ->\n"), Distillation("Use {input}.\n"))
    assert tokenizer.decode(teacher.prompt(Example("a", "", 1))) == "Use {input}.\n> a ->\n"
