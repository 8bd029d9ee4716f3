"""Dates in the spellings people use, and their ISO 8601 form.

Two conventions settle what is ambiguous: all-digit dates with ``/``, ``.`` or ``-`` put the day first unless the year
leads, and two-digit years follow POSIX ``strptime``: 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068.
"""

from __future__ import annotations

import calendar
import datetime
import random

from demo.data.example import Example

_MONTHS = calendar.month_name[1:]
_SHORT = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = tuple(calendar.day_name)
_UNITS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth",
)  # fmt: skip
_SPELLED = (*_UNITS, *(f"twenty-{unit}" for unit in _UNITS[:9]), "thirtieth", "thirty-first")

_DAY_FIRST = (
    "{d} {m} {y}", "{d} {m} {y}", "{d} {m} {y}", "{o} {m} {y}", "{o} of {m} {y}", "the {o} of {m} {y}",
    "the {o} of {m}, {y}", "{d} {m}, {y}", "{o} {m}, {y}", "{d}. {m} {y}", "{d}-{m}-{y}", "{d} of {m} {y}",
    "{z} {m} {y}", "the {s} of {m} {y}", "{s} of {m}, {y}", "{d}/{m}/{y}", "{w}, {d} {m} {y}", "{w} {d} {m} {y}",
    "{w}, {o} {m} {y}", "{w} the {o} of {m} {y}", "{w}, {z} {m} {y}", "{w}, the {o} of {m}, {y}", "{d}{m}{y}",
    "{z}-{m}-{y}",
)  # fmt: skip
_MONTH_FIRST = (
    "{m} {d}, {y}", "{m} {d}, {y}", "{m} {d} {y}", "{m} {o}, {y}", "{m} {o} {y}", "{m} the {o}, {y}",
    "{m} {s}, {y}", "{w}, {m} {d}, {y}", "{w} {m} {d} {y}", "{w}, {m} {o}, {y}", "{m} {z}, {y}", "{m} {s} {y}",
    "{m}-{d}-{y}", "{y} {m} {d}", "{y}, {m} {d}", "{m} {d} ,{y}",
)  # fmt: skip
_DIGITS = (
    "{d}/{n}/{y}", "{z}/{nn}/{y}", "{d}.{n}.{y}", "{z}.{nn}.{y}", "{d}-{n}-{y}", "{z}-{nn}-{y}", "{d} {n} {y}",
    "{y}/{n}/{d}", "{y}/{nn}/{z}", "{y}.{nn}.{z}", "{y}-{n}-{d}", "{y} {nn} {z}", "{y}{nn}{z}", "{d}. {n}. {y}",
)  # fmt: skip
_CARRIERS = (
    "on {}", "It was {}", "born on {}", "due {}", "due on {}", "Date: {}", "since {}", "I arrived on {}",
    "the meeting is on {}", "we met on {}", "It happened on {}", "until {}", "from {}", "by {}", "She was born {}",
    "see you on {}", "{} at noon", "Paris, {}", "my birthday is {}", "The war ended on {}", "the party is on {}",
    "{} in the evening", "deadline: {}", "He died on {}", "Our wedding was on {}", "delivered on {}",
    "invoice of {}", "the course starts on {}", "dated {}", "Published: {}", "valid until {}", "expires {}",
    "he left on {}", "Easter is on {}", "the exam is on {}", "We moved here on {}", "it all began on {}",
    "signed {}", "The next holiday is on {}", "they got married on {}", "opening day is {}",
)  # fmt: skip


def sample(rng: random.Random) -> Example:
    """A date in some spelling and in ISO form, the split drawn by the date itself."""
    day = _random_day(rng)
    short_year = 1969 <= day.year <= 2068 and rng.random() < 0.15
    text = _spelled(day, f"{day.year % 100:02d}" if short_year else f"{day.year}", short_year, rng)
    if rng.random() < 0.15:
        text = rng.choice(_CARRIERS).format(text)
    draw = rng.random()
    if draw < 0.3:
        text = text.lower()
    elif draw < 0.34:
        text = text.upper()
    return Example(text + ("." if rng.random() < 0.06 else ""), day.isoformat(), f"date {day.isoformat()}")


def _random_day(rng: random.Random) -> datetime.date:
    low, high = rng.choices([(1950, 2040), (1800, 2100), (1000, 2199)], [60, 28, 12])[0]
    year, month = rng.randint(low, high), rng.randint(1, 12)
    last = calendar.monthrange(year, month)[1]
    return datetime.date(year, month, last if rng.random() < 0.04 else rng.randint(1, last))


def _spelled(day: datetime.date, year: str, short_year: bool, rng: random.Random) -> str:
    year = f"'{year}" if short_year and rng.random() < 0.2 else year
    if rng.random() < 0.32:
        pattern = rng.choice([p for p in _DIGITS if not (short_year and p.startswith("{y}"))])
    else:
        family = _DAY_FIRST if rng.random() < 0.55 else _MONTH_FIRST
        pattern = rng.choice([p for p in family if not (short_year and p.startswith("{y}"))])
    return pattern.format(
        d=day.day, z=f"{day.day:02d}", o=_ordinal(day.day), s=_spelled_day(day.day, rng), m=_month(day.month, rng),
        n=day.month, nn=f"{day.month:02d}", y=year, w=_weekday(day, rng),
    )  # fmt: skip


def _month(month: int, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.55:
        return _MONTHS[month - 1]
    short = "Sept" if month == 9 and draw < 0.8 else _SHORT[month - 1]
    return short + ("." if month != 5 and rng.random() < 0.2 else "")


def _weekday(day: datetime.date, rng: random.Random) -> str:
    # One in four names a wrong weekday: the answer depends on day, month and year alone.
    name = _DAYS[day.weekday() if rng.random() < 0.75 else rng.randrange(7)]
    short = name[:3]
    longer = {"Tue": "Tues", "Thu": "Thurs"}.get(short, short)
    return rng.choice([name, name, name, name, short, f"{short}.", longer])


def _ordinal(number: int) -> str:
    suffix = "th" if 10 < number % 100 < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _spelled_day(day: int, rng: random.Random) -> str:
    spelled = _SPELLED[day - 1]
    return spelled.replace("-", " ") if rng.random() < 0.3 else spelled
