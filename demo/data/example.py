"""One input with its expected output, and its split."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Example:
    """``key`` is what the split is drawn by: two spellings of one date share it, and so never straddle splits.

    ``vocabulary`` marks what cannot be inferred from anything else ("zero"): it is always trained on, never held out.
    """

    input: str
    output: str
    key: str
    vocabulary: bool = False


class Split(StrEnum):
    """Train is 90 % of all keys; base and prompts are trained on it alone."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def may_train_on(example: Example, reserved: frozenset[str]) -> bool:
    """Whether base and prompts may see ``example``; ``reserved`` holds the normalised hand-written inputs."""
    if example.vocabulary:
        return True
    text = normalised(example.input)
    return bool(text) and text not in reserved and split_of(example.key) is Split.TRAIN


def may_judge_by(example: Example, split: Split, reserved: frozenset[str]) -> bool:
    """Whether ``example`` belongs to the held-out ``split``."""
    text = normalised(example.input)
    return bool(text) and not example.vocabulary and text not in reserved and split_of(example.key) is split


def split_of(key: str) -> Split:
    """The split of a key, by hash, whatever its case, punctuation and spacing."""
    digest = hashlib.sha256(normalised(key).encode()).digest()
    match digest[0] % 20:
        case 0:
            return Split.TEST
        case 1:
            return Split.VALIDATION
        case _:
            return Split.TRAIN


def normalised(text: str) -> str:
    """Lower case, letters and digits only, single spaces."""
    return re.sub(r"\W+", " ", text.lower().replace("'", "")).strip()
