"""The prompts that `benchmarks.distillation` distils: each has eight examples, which are written in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prompts_store.manifest import Manifest


@dataclass(frozen=True, slots=True)
class FewShots:
    """Examples with their answers, between a beginning and the input's own place in the template."""

    beginning: str
    examples: tuple[tuple[str, str], ...]
    manifest: Manifest
    max_answer_tokens: int

    def instruction(self, order: Sequence[int]) -> str:
        """The prompt with its examples in this order."""
        template = self.manifest.template or ""
        shown = (self.examples[number] for number in order)
        return self.beginning + "".join(f"{template.replace('{input}', text)} {answer}\n\n" for text, answer in shown)


LABELS = FewShots(
    "Classify the sentiment of each movie review as positive or negative.\n\n",
    (
        ("a warm and funny film that stays with you long after the last scene .", "positive"),
        ("the plot drags on for two hours and goes nowhere at all .", "negative"),
        ("brilliantly acted , and the camera finds beauty in every street of the town .", "positive"),
        ("a loud , lazy sequel without one honest laugh .", "negative"),
        ("it may be slow to begin with , but the ending is worth every minute .", "positive"),
        ("nobody in this picture seems to know why they are there , least of all the director .", "negative"),
        ("the best thing that i have seen on a screen this year .", "positive"),
        ("what a waste of a good cast .", "negative"),
    ),
    Manifest(template="Review: {input}\nSentiment:"),
    1,
)

TEXTS = FewShots(
    "Say in one short sentence what the writer of the review thinks of the film.\n\n",
    (
        (
            "a warm and funny film that stays with you long after the last scene .",
            "The writer finds it warm and funny.",
        ),
        ("the plot drags on for two hours and goes nowhere at all .", "The writer finds the plot slow and empty."),
        ("brilliantly acted , and full of beauty in every street .", "The writer praises the actors and the pictures."),
        ("a loud , lazy sequel without one honest laugh .", "The writer finds it loud and not funny."),
        ("slow to begin with , but the ending is worth every minute .", "The writer likes the ending most."),
        ("nobody in it seems to know why they are there .", "The writer finds the film without a purpose."),
        ("the best thing that i have seen on a screen this year .", "The writer loves the film."),
        ("what a waste of a good cast .", "The writer likes the actors but not the film."),
    ),
    Manifest(template="Review: {input}\nIn short:", stop=("\n",)),
    24,
)
