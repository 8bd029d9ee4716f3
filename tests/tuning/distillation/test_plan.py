"""The plan of a distillation, and instructions that are refused."""

from __future__ import annotations

import pytest

from prompts_store.checkpoint_records import BaseKind
from prompts_store.manifest import Manifest
from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.plan import plan_distillation
from server.tuning.distillation.teacher import Teacher
from server.tuning.errors import PlanRefused
from server.tuning.example_line import Example
from server.tuning.models.prompt_values import initial_ids
from server.tuning.plan import Initialisation, Method, TuningPlan, new_plan
from server.tuning.task_choice import plan_for
from server.tuning.teaching import Distillation
from tests.fakes.tokenizers import byte_level

LONG = "Answer in one word, and say yes where the text begins with a vowel. " * 3


def teacher_of(instruction: str, num_inputs: int | None = None, tokenizer=None, **form) -> Teacher:
    manifest = Manifest(**form or {"template": "{input} ->\n"})
    return Teacher(
        tokenizer or byte_level(),
        manifest,
        Distillation(instruction, num_inputs=num_inputs, is_document=num_inputs is not None),
    )


def refusal(given: dict, instruction: str = LONG, kind: BaseKind = BaseKind.DECODER) -> tuple[str, str]:
    with pytest.raises(PlanRefused) as refused:
        plan_distillation(given, teacher_of(instruction), kind)
    return refused.value.param, str(refused.value)


def test_a_prefix_starts_from_the_instruction():
    """By default 32 virtual tokens, or half of a short instruction's tokens. Rows start from its first tokens."""
    tokenizer = byte_level()
    plan = plan_distillation({}, teacher_of(LONG), BaseKind.DECODER)
    assert (plan.method, plan.initialisation, plan.num_virtual_tokens) == (
        Method.PREFIX_TUNING,
        Initialisation.INSTRUCTION,
        32,
    )
    rows = plan_distillation({"method": "PROMPT_TUNING"}, teacher_of(LONG), BaseKind.DECODER)
    assert LONG.startswith(rows.init_text)
    short = plan_distillation({}, teacher_of("Yes or no?"), BaseKind.DECODER)
    assert short.num_virtual_tokens == len(tokenizer.encode("Yes or no?", add_special_tokens=False)) // 2
    chosen = plan_distillation(
        {"method": "PROMPT_TUNING", "initialisation": "RANDOM"}, teacher_of(LONG), BaseKind.DECODER
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


# --- documents --------------------------------------------------------------------------------------------------------

CHAT = "{% for m in messages %}<pad>{{ m.role }}\n{{ m.content }}{% endfor %}<pad>assistant\n"


def test_a_document_becomes_a_cartridge():
    """By default 256 virtual tokens, or a quarter of a short document."""
    plan = plan_distillation({}, teacher_of(LONG * 20, 20), BaseKind.DECODER)
    assert (plan.method, plan.initialisation, plan.num_virtual_tokens) == (Method.CARTRIDGE, Initialisation.TEXT, 256)
    short = plan_distillation({}, teacher_of(LONG, 20), BaseKind.DECODER)
    assert short.num_virtual_tokens == len(byte_level().encode(LONG, add_special_tokens=False)) // 4


def test_a_cartridge_starts_with_the_tokens_of_the_teachers_prompt():
    """Its first row, which stays, is then that of the token that a chat begins with."""
    tokenizer = byte_level(CHAT)
    teacher = teacher_of(LONG, 20, tokenizer, chat_template=True)
    plan = plan_distillation({"num_virtual_tokens": 20}, teacher, BaseKind.DECODER)
    assert plan.init_text.startswith("<pad>system\nAnswer")
    assert tuple(initial_ids(plan, tokenizer, ())) == teacher.prompt(Example("x", "", 1))[:20]


@pytest.mark.parametrize("num_inputs", [None, 20])
def test_a_chat_template_without_a_systems_message_is_refused(num_inputs):
    """Gemma's. The instruction, or the document, is named."""
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    template = refuse + "{{ messages[0].content }}"
    teacher = teacher_of(LONG, num_inputs, byte_level(template), chat_template=True)
    words = "cannot be read by the base model: the base model's chat template does not"
    with pytest.raises(PlanRefused, match=words) as refused:
        plan_distillation({}, teacher, BaseKind.DECODER)
        teacher.check_instruction(4096)
    assert refused.value.param == ("instruction" if num_inputs is None else "document")


@pytest.mark.parametrize(
    ("document", "num_inputs", "param", "words"),
    [
        ("", 20, "document", "is empty: there is nothing to distil"),
        ("One line.", 20, "document", "has 8 tokens, and a cartridge is for 64 or more"),
        (LONG, 9, "num_inputs", "is from 10 to"),
    ],
)
def test_a_document_that_cannot_become_a_cartridge_is_refused(document, num_inputs, param, words):
    """Before anything is asked."""
    with pytest.raises(PlanRefused) as refused:
        plan_distillation({}, teacher_of(document, num_inputs), BaseKind.DECODER)
    assert refused.value.param == param
    assert words in str(refused.value)


def test_a_cartridge_of_one_row_would_learn_nothing():
    """Its only row stays as it is. The method is for decoders."""
    with pytest.raises(PlanRefused, match="num_virtual_tokens is 1, and the first row of a CARTRIDGE is not trained"):
        plan_distillation({"num_virtual_tokens": 1}, teacher_of(LONG, 20), BaseKind.DECODER)
    with pytest.raises(PlanRefused, match="method is CARTRIDGE, which is trained on decoders"):
        plan_for(TuningPlan(Method.CARTRIDGE), BaseKind.ENCODER)


# --- the teacher's prompts --------------------------------------------------------------------------------------------


class CountingTokenizer(Tokenizer):
    """A tokenizer that counts the characters that it encodes."""

    num_characters = 0

    def encode(self, text, *, add_special_tokens=None):
        type(self).num_characters += len(text)
        return super().encode(text, add_special_tokens=add_special_tokens)


@pytest.mark.parametrize("text", ["a", " x", "<pad>", "é<end>\n", "system\n", ""])
def test_the_instruction_is_encoded_once(text):
    """In a chat template, up to its last special token. The prompts are those of the whole text."""
    tokenizer = byte_level(CHAT)
    teacher = teacher_of(LONG, None, tokenizer, chat_template=True)
    example = Example(text, "", 1)
    messages = (ChatMessage("system", LONG), ChatMessage("user", text))
    whole = tokenizer.encode(tokenizer.chat_template.render(messages), add_special_tokens=False)
    assert teacher.prompt(example) == whole
    counting = CountingTokenizer(tokenizer._pretrained)
    teacher = teacher_of(LONG, None, counting, chat_template=True)
    teacher.prompt(example)
    CountingTokenizer.num_characters = 0
    assert teacher.prompt(example) == whole
    assert CountingTokenizer.num_characters < 60
