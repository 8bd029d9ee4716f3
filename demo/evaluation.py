"""Exact-match accuracy by greedy decoding.

Only prompts of equal length share a batch, so nothing is ever padded: padding on the left changes PEFT's answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from demo.catalog import DemoTask
from demo.data.example import Example
from demo.tokenization import encode
from server.demo import TEMPLATE


@dataclass(frozen=True, slots=True)
class Sets:
    """The examples of one task that it is judged by; ``validation`` chooses, the others are only reported.

    ``later`` is a second hand-written list, empty for some tasks.
    """

    validation: list[Example]
    heldout: list[Example]
    handwritten: list[Example]
    later: list[Example]


@dataclass(frozen=True, slots=True)
class Scores:
    """Exact match on each set."""

    validation: float
    heldout: float
    handwritten: float
    later: float | None


def score(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    task: DemoTask,
    sets: Sets,
    instruction: str = "",
) -> Scores:
    """Scores of ``model`` on every set, after ``instruction`` if there is one."""

    def on(examples: list[Example]) -> float:
        prompts = [instruction + TEMPLATE.replace("{input}", example.input) for example in examples]
        return exact_match(answers(model, tokenizer, prompts, task.max_tokens), examples)

    return Scores(on(sets.validation), on(sets.heldout), on(sets.handwritten), on(sets.later) if sets.later else None)


def answers(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    max_tokens: int,
    max_batch: int = 64,
) -> list[str]:
    """The greedy completion of each prompt, in order."""
    rows = encode(tokenizer, list(prompts))
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(index)
    found = [""] * len(rows)
    for indices in by_length.values():
        for start in range(0, len(indices), max_batch):
            some = indices[start : start + max_batch]
            texts = _complete(model, tokenizer, torch.tensor([rows[i] for i in some]), max_tokens)
            for index, text in zip(some, texts, strict=True):
                found[index] = text
    return found


@torch.no_grad()
def _complete(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerFast, ids: torch.Tensor, max_tokens: int
) -> list[str]:
    """``ids`` is ``[num_prompts, num_tokens]``, unpadded."""
    output = model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    texts: list[str] = tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    return texts


def exact_match(found: Sequence[str], examples: Sequence[Example]) -> float:
    """The share of answers equal to the expected output, to the letter; 0 for no examples."""
    hits = sum(text == example.output for text, example in zip(found, examples, strict=True))
    return hits / len(examples) if examples else 0.0
