"""A distillation as bytes, to resume from: inputs that the base model wrote, the teacher's answers, and the run.

Eight bytes with the length of a JSON object (little endian), the object, and the run's own state, empty before it
begins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.tuning.errors import CheckpointUnreadable
from server.tuning.teaching import Answer

_FORMAT = "softprompt distillation 1"


@dataclass(frozen=True, slots=True, eq=False)
class DistillationState:
    """Answers by input, the state of the run (None before it begins), and drafts of inputs by number."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    run: bytes | None = None
    drafts: Mapping[int, str] = field(default_factory=dict)


def pack_state(state: DistillationState) -> bytes:
    """Write a state; `unpack_state` is the inverse."""
    answers = {text: [answer.token_ids, answer.text, answer.is_cut] for text, answer in state.answers.items()}
    fields = {"format": _FORMAT, "answers": answers, "drafts": list(state.drafts.items())}
    header = json.dumps(fields).encode()
    return len(header).to_bytes(8, "little") + header + (state.run or b"")


def unpack_state(data: bytes) -> DistillationState:
    """Read a state. Raises `CheckpointUnreadable`."""
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:end])
        if header["format"] != _FORMAT:
            raise CheckpointUnreadable("the saved state is of another version of this program")
        answers = {text: Answer(tuple(ids), answer, cut) for text, (ids, answer, cut) in header["answers"].items()}
        drafts = {int(number): str(text) for number, text in header.get("drafts", ())}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointUnreadable("the saved state of the distillation is damaged") from error
    return DistillationState(answers, data[end:] or None, drafts)
