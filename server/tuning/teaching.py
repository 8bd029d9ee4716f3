"""What a distillation is asked for, and what its teacher answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from server.tuning.errors import PlanRefused

DEFAULT_ANSWER_TOKENS = 64
MAX_ANSWER_TOKENS = 4096
DEFAULT_WRITTEN_INPUTS = 200
MIN_INPUTS, MAX_INPUTS = 10, 100_000
"""Numbers of different inputs of a distillation: a tenth of them is held out."""


@dataclass(frozen=True, slots=True)
class Distillation:
    """The instruction of the teacher, and the maximum number of tokens of its answers.

    The instruction is any text that stands before an input: rules, examples, a document. With `num_inputs` the base
    model writes inputs itself, as many as are missing. Of a document (`is_document`), they are about its chunks.
    """

    instruction: str
    max_answer_tokens: int = DEFAULT_ANSWER_TOKENS
    num_inputs: int | None = None
    is_document: bool = False

    @property
    def name(self) -> str:
        """What the text is called."""
        return "document" if self.is_document else "instruction"

    def __post_init__(self) -> None:
        """Raise `PlanRefused`."""
        if not self.instruction.strip():
            raise PlanRefused("is empty: there is nothing to distil", param=self.name)
        if not 1 <= self.max_answer_tokens <= MAX_ANSWER_TOKENS:
            raise PlanRefused(f"is from 1 to {MAX_ANSWER_TOKENS}", param="max_answer_tokens")
        if self.num_inputs is not None and not MIN_INPUTS <= self.num_inputs <= MAX_INPUTS:
            raise PlanRefused(f"is from {MIN_INPUTS} to {MAX_INPUTS}", param="num_inputs")

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}


@dataclass(frozen=True, slots=True)
class Answer:
    """The teacher's answer to an input: its tokens, with the end token if the teacher wrote one, and its text.

    `is_cut`: it reached the maximum number of tokens.
    """

    token_ids: tuple[int, ...]
    text: str
    is_cut: bool = False
