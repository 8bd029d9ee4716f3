"""The plan of a distillation: by default a prefix from keys and values of evenly spaced tokens of the instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prompts_store.checkpoint_records import BaseKind
from server.tokenizer.errors import UnknownToken
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.errors import PlanRefused
from server.tuning.plan import Initialisation, Method, TuningPlan, new_plan
from server.tuning.task_choice import plan_for
from server.tuning.teaching import Distillation

NUM_DEFAULT_VIRTUAL_TOKENS = 32
_NUM_STEPS, _NUM_EXTENSIONS, _BATCH_SIZE = 100, 2, 8
"""A student that starts from its instruction needs few steps (docs/experiments.md)."""


def plan_distillation(
    given: Mapping[str, Any], distillation: Distillation, tokenizer: Tokenizer, kind: BaseKind
) -> TuningPlan:
    """Return the plan of a distillation with the hyperparameters that a person gives.

    Without a length the run has 100 steps of 8 examples, and is extended twice at most. Without a method it is prefix
    tuning from evenly spaced tokens of the instruction; PROMPT_TUNING starts from the embeddings of its first ones.
    Without a number there are at most `NUM_DEFAULT_VIRTUAL_TOKENS` virtual tokens and half as many as the instruction
    has tokens.
    Raises `PlanRefused`, with the param `type` where the base model cannot be a teacher.
    """
    if kind is not BaseKind.DECODER:
        raise PlanRefused(f"is distillation, which needs a decoder; the base model is of the kind {kind}", param="type")
    ids = _instruction_ids(distillation, tokenizer)
    fields = {"method": Method.PREFIX_TUNING, **given}
    fields.setdefault("num_virtual_tokens", min(NUM_DEFAULT_VIRTUAL_TOKENS, len(ids) // 2))
    if "initialisation" not in fields and fields.get("init_text") is None:
        if fields["method"] == Method.PREFIX_TUNING:
            fields["initialisation"] = Initialisation.INSTRUCTION
        elif fields["method"] == Method.PROMPT_TUNING:
            fields["init_text"] = tokenizer.decode(ids[: max(1, fields["num_virtual_tokens"])])
    fields.setdefault("batch_size", _BATCH_SIZE)
    if fields.get("num_steps") is None and fields.get("num_epochs") is None:
        fields["num_steps"] = _NUM_STEPS
        fields.setdefault("max_extensions", _NUM_EXTENSIONS)
    plan = plan_for(new_plan(fields, is_distillation=True), kind)
    _check(plan, len(ids))
    return plan


def version_defaults(distillation: Distillation) -> dict[str, Any]:
    """Defaults of the version to make: the student answers as its teacher did, greedy and as long at most."""
    return {"temperature": 0.0, "max_tokens": distillation.max_answer_tokens}


def _instruction_ids(distillation: Distillation, tokenizer: Tokenizer) -> tuple[int, ...]:
    try:
        ids = tokenizer.encode(distillation.instruction, add_special_tokens=False)
    except UnknownToken as error:
        raise PlanRefused(f"cannot be read by the base model: {error}", param="instruction") from error
    if len(ids) < 2:
        raise PlanRefused("has fewer than two tokens: a soft prompt would save none", param="instruction")
    return ids


def _check(plan: TuningPlan, num_tokens: int) -> None:
    if plan.num_virtual_tokens >= num_tokens:
        message = f"is {plan.num_virtual_tokens}, and the instruction has {num_tokens} tokens: none would be saved"
        raise PlanRefused(message, param="num_virtual_tokens")
    if plan.has_head:
        raise PlanRefused(f"is {plan.task_type}, and a distillation learns texts, not a head", param="task_type")
    if plan.method is Method.P_TUNING:
        message = "is P_TUNING, which cannot start from the instruction: choose PREFIX_TUNING or PROMPT_TUNING"
        raise PlanRefused(message, param="method")
    if plan.initialisation is Initialisation.INSTRUCTION and plan.method is not Method.PREFIX_TUNING:
        raise PlanRefused(f"is INSTRUCTION, and {plan.method} has no keys and values", param="initialisation")
    if plan.initialisation is Initialisation.LABELS:
        raise PlanRefused("is LABELS, and the inputs of a distillation have none", param="initialisation")
