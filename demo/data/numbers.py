"""Whole numbers in digits and in English words (British "and", as in "one hundred and five")."""

from __future__ import annotations

import random

from demo.data.example import Example

MAX_NUMBER = 99_999

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(number: int) -> str:
    """``1066`` to ``one thousand and sixty-six``; ``number`` is 0 to ``MAX_NUMBER``."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_SMALL[hundreds]} hundred" + (f" and {in_words(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    link = " and " if 0 < rest < 100 else " "
    return f"{in_words(thousands)} thousand" + (f"{link}{in_words(rest)}" if rest else "")


def sample(rng: random.Random) -> Example:
    """A number in digits (a comma after the thousands now and then) and in words."""
    number = rng.randrange(rng.choices([100, 1000, 10_000, MAX_NUMBER + 1], [18, 30, 38, 14])[0])
    if rng.random() < 0.1:
        number = round(number, -2)
    text = f"{number:,}" if rng.random() < 0.25 else str(number)
    return Example(text, in_words(number), f"number {number}", vocabulary=number < 20)
