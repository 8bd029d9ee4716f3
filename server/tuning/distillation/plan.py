"""The plan of a distillation: by default a prefix from keys and values of tokens of its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prompts_store.checkpoint_records import BaseKind
from server.tokenizer.errors import UnknownToken
from server.tuning.distillation.teacher import Teacher
from server.tuning.errors import PlanRefused
from server.tuning.plan import Initialisation, Method, TuningPlan, new_plan
from server.tuning.task_choice import plan_for
from server.tuning.teaching import Distillation

NUM_DEFAULT_VIRTUAL_TOKENS = 32
NUM_DOCUMENT_VIRTUAL_TOKENS = 256
MIN_DOCUMENT_TOKENS = 64
_NUM_STEPS, _NUM_EXTENSIONS, _BATCH_SIZE = 100, 2, 8
"""A student that starts from its instruction needs few steps (docs/experiments.md)."""


def plan_distillation(given: Mapping[str, Any], teacher: Teacher, kind: BaseKind) -> TuningPlan:
    """Return the plan of a distillation with the hyperparameters that a person gives.

    Without a length the run has 100 steps of 8 examples, and is extended twice at most. Of an instruction it is by
    default prefix tuning from evenly spaced tokens; PROMPT_TUNING starts from the embeddings of its first ones.
    Without a number there are at most `NUM_DEFAULT_VIRTUAL_TOKENS` virtual tokens and half as many as it has tokens. Of
    a document it is a cartridge from the first tokens of the teacher's prompt, the first of which is the attention
    sink: `NUM_DOCUMENT_VIRTUAL_TOKENS`, or a quarter of its tokens.
    Raises `PlanRefused`, with the param `type` where the base model cannot be a teacher.
    """
    if kind is not BaseKind.DECODER:
        raise PlanRefused(f"is distillation, which needs a decoder; the base model is of the kind {kind}", param="type")
    ids = _text_ids(teacher)
    fields = {**_defaults(teacher, len(ids)), **given}
    if "initialisation" not in fields and fields.get("init_text") is None:
        _add_initialisation(fields, teacher, ids)
    fields.setdefault("batch_size", _BATCH_SIZE)
    if fields.get("num_steps") is None and fields.get("num_epochs") is None:
        fields["num_steps"] = _NUM_STEPS
        fields.setdefault("max_extensions", _NUM_EXTENSIONS)
    plan = plan_for(new_plan(fields, is_distillation=True), kind)
    _check(plan, len(ids), teacher.distillation.name)
    return plan


def _defaults(teacher: Teacher, num_tokens: int) -> dict[str, Any]:
    if not teacher.distillation.is_document:
        num_virtual_tokens = min(NUM_DEFAULT_VIRTUAL_TOKENS, num_tokens // 2)
        return {"method": Method.PREFIX_TUNING, "num_virtual_tokens": num_virtual_tokens}
    return {"method": Method.CARTRIDGE, "num_virtual_tokens": min(NUM_DOCUMENT_VIRTUAL_TOKENS, num_tokens // 4)}


def _add_initialisation(fields: dict[str, Any], teacher: Teacher, ids: tuple[int, ...]) -> None:
    first, tokenizer = slice(max(1, fields["num_virtual_tokens"])), teacher.tokenizer
    if teacher.distillation.is_document and fields["method"] != Method.P_TUNING:
        prompt = teacher.readable_prompt()
        fields["init_text"] = tokenizer.decode(prompt[first], skip_special_tokens=False)
    elif fields["method"] in (Method.PREFIX_TUNING, Method.CARTRIDGE):
        fields["initialisation"] = Initialisation.INSTRUCTION
    elif fields["method"] == Method.PROMPT_TUNING:
        fields["init_text"] = tokenizer.decode(ids[first])


def version_defaults(distillation: Distillation) -> dict[str, Any]:
    """Defaults of the version to make: the student answers as its teacher did, greedy and as long at most."""
    return {"temperature": 0.0, "max_tokens": distillation.max_answer_tokens}


def _text_ids(teacher: Teacher) -> tuple[int, ...]:
    distillation = teacher.distillation
    try:
        ids = teacher.tokenizer.encode(distillation.instruction, add_special_tokens=False)
    except UnknownToken as error:
        raise PlanRefused(f"cannot be read by the base model: {error}", param=distillation.name) from error
    if distillation.is_document and len(ids) < MIN_DOCUMENT_TOKENS:
        message = f"has {len(ids)} tokens, and a cartridge is for {MIN_DOCUMENT_TOKENS} or more"
        raise PlanRefused(f"{message}: send so short a text with each request", param=distillation.name)
    if len(ids) < 2:
        raise PlanRefused("has fewer than two tokens: a soft prompt would save none", param=distillation.name)
    return ids


def _check(plan: TuningPlan, num_tokens: int, name: str) -> None:
    if plan.num_virtual_tokens >= num_tokens:
        message = f"is {plan.num_virtual_tokens}, and the {name} has {num_tokens} tokens: none would be saved"
        raise PlanRefused(message, param="num_virtual_tokens")
    if plan.has_head:
        raise PlanRefused(f"is {plan.task_type}, and a distillation learns texts, not a head", param="task_type")
    if plan.method is Method.P_TUNING:
        message = f"is P_TUNING, which cannot start from the {name}: choose PREFIX_TUNING or PROMPT_TUNING"
        raise PlanRefused(message, param="method")
    if plan.initialisation is Initialisation.INSTRUCTION and not plan.is_key_values:
        raise PlanRefused(f"is INSTRUCTION, and {plan.method} has no keys and values", param="initialisation")
    if plan.initialisation is Initialisation.LABELS:
        raise PlanRefused("is LABELS, and the inputs of a distillation have none", param="initialisation")
