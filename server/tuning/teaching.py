"""What a distillation is asked for, and what its teacher answers."""

from __future__ import annotations

from dataclasses import dataclass

from server.tuning.errors import PlanRefused

DEFAULT_ANSWER_TOKENS = 64
MAX_ANSWER_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Distillation:
    """The instruction of the teacher, and the maximum number of tokens of its answers.

    The instruction is any text that stands before an input: rules, examples, a document.
    """

    instruction: str
    max_answer_tokens: int = DEFAULT_ANSWER_TOKENS

    def __post_init__(self) -> None:
        """Raise `PlanRefused`."""
        if not self.instruction.strip():
            raise PlanRefused("is empty: there is nothing to distil", param="instruction")
        if not 1 <= self.max_answer_tokens <= MAX_ANSWER_TOKENS:
            raise PlanRefused(f"is from 1 to {MAX_ANSWER_TOKENS}", param="max_answer_tokens")


@dataclass(frozen=True, slots=True)
class Answer:
    """The teacher's answer to an input: its tokens, with the end token if the teacher wrote one, and its text.

    `is_cut`: it reached the maximum number of tokens.
    """

    token_ids: tuple[int, ...]
    text: str
    is_cut: bool = False
