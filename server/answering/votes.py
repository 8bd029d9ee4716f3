"""Ensembles: labels by the mean of the members' probabilities, texts by vote.

Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", section 6. All
members run the same prompt, in one batch. The answer is known when the last of them has ended.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace

from server.answering.choice_text import TextDelta
from server.answering.generation import Outvoted, PromptText, TextEvent


async def voted(events: AsyncIterable[TextEvent], num_members: int) -> AsyncIterator[TextEvent]:
    """Reduce the `num_members` answers to each prompt to the most frequent text.

    Of equally frequent texts, the first member's wins.
    """
    answers: defaultdict[int, list[TextDelta]] = defaultdict(list)
    async for event in events:
        match event:
            case PromptText():
                yield replace(event, prompt=event.prompt // num_members)
            case TextDelta():
                answers[event.choice].append(event)
    texts = ["".join(delta.text for delta in answers[run]) for run in range(len(answers))]
    for prompt in range(len(texts) // num_members):
        ballot = texts[prompt * num_members : (prompt + 1) * num_members]
        elected = ballot.index(max(ballot, key=ballot.count))
        for member in range(num_members):
            deltas = answers[prompt * num_members + member]
            if member != elected:
                yield Outvoted(sum(len(delta.token_ids) for delta in deltas))
                continue
            for delta in deltas:
                yield replace(delta, choice=prompt)


def mean_probabilities(logprobs: Sequence[Sequence[float]]) -> list[float]:
    """The mean over the members of each label's probability; each member's probabilities sum to 1.

    `logprobs` has one row per member, with one log-probability per label.
    """
    return [sum(of_label) / len(of_label) for of_label in zip(*map(_softmax, logprobs), strict=True)]


def log_mean(logprobs: Sequence[float]) -> float:
    """The natural logarithm of the mean of the members' probabilities."""
    highest = max(logprobs)
    if len(logprobs) == 1 or highest == -math.inf:
        return highest
    return highest + math.log(sum(math.exp(logprob - highest) for logprob in logprobs) / len(logprobs))


def _softmax(logprobs: Sequence[float]) -> list[float]:
    highest = max(logprobs)
    weights = [math.exp(logprob - highest) for logprob in logprobs]
    total = sum(weights)
    return [weight / total for weight in weights]
