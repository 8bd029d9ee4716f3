"""What a distillation is asked for, and what its teacher answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from server.tuning.errors import PlanRefused

MIN_INPUTS = 10
"""Minimum number of different inputs of a distillation: a tenth of them is held out."""

DEFAULT_ANSWER_TOKENS = 64
DEFAULT_QUESTIONS = 200
MAX_QUESTIONS = 100_000
MAX_ANSWER_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Distillation:
    """The instruction of the teacher, and the maximum number of tokens of its answers.

    The instruction is any text that stands before an input: rules, examples, a document. With `num_questions` it is a
    document, and the base model writes this number of questions about it, which are the inputs.
    """

    instruction: str
    max_answer_tokens: int = DEFAULT_ANSWER_TOKENS
    num_questions: int | None = None

    @property
    def name(self) -> str:
        """What the text is called."""
        return "instruction" if self.num_questions is None else "document"

    def __post_init__(self) -> None:
        """Raise `PlanRefused`."""
        if not self.instruction.strip():
            raise PlanRefused("is empty: there is nothing to distil", param=self.name)
        if not 1 <= self.max_answer_tokens <= MAX_ANSWER_TOKENS:
            raise PlanRefused(f"is from 1 to {MAX_ANSWER_TOKENS}", param="max_answer_tokens")
        if self.num_questions is not None and not MIN_INPUTS <= self.num_questions <= MAX_QUESTIONS:
            raise PlanRefused(f"is from {MIN_INPUTS} to {MAX_QUESTIONS}", param="num_questions")


def distillation_to_json(distillation: Distillation) -> dict[str, Any]:
    """Every field as a JSON value. `num_questions` is there only with a document, so digests of other jobs stay."""
    fields = asdict(distillation)
    if distillation.num_questions is None:
        del fields["num_questions"]
    return fields


@dataclass(frozen=True, slots=True)
class Answer:
    """The teacher's answer to an input: its tokens, with the end token if the teacher wrote one, and its text.

    `is_cut`: it reached the maximum number of tokens.
    """

    token_ids: tuple[int, ...]
    text: str
    is_cut: bool = False
