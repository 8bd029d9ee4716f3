"""Several versions that answer as one: labels by the mean of their probabilities, texts by vote.

Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", section 6. Every member runs the same
prompt, all in one batch; nothing is known of an answer before the last of them has ended.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace

from server.answering.choice_text import TextDelta
from server.answering.generation import Outvoted, PromptText, TextEvent


async def voted(events: AsyncIterable[TextEvent], num_members: int) -> AsyncIterator[TextEvent]:
    """The events of one answer a prompt, of the `num_members` that each prompt has: the text given most often.

    Of texts given equally often, the one whose first voter the ensemble lists first.
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
    """The mean of the members' probabilities of each label, each member's over its labels being 1 together.

    `logprobs` has one row a member, of one log-probability a label.
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
