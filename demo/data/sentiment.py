"""Opinions, positive or negative, about anything a newcomer may think of; with negation and with "but"."""

from __future__ import annotations

import random
import re
from functools import cache

from demo.data.example import Example
from demo.data.grammar import Grammar, Scope, tidy_spaces
from demo.data.surface import capitalised, typed

LABELS = ("positive", "negative")

_OPPOSITE = {"pos": "neg", "neg": "pos"}
_DOMAINS = ("film", "book", "music", "food", "hotel", "gadget", "clothes", "home", "app", "service", "travel", "life")

# (weight, pattern) for either polarity; "<!adj>" is an adjective of the other one.
_STATEMENTS = (
    (10, "<the> <thing> {was|is|was|is|<be>} <int> <adj>"),
    (6, "<the> <aspect> {was|is|<be>} <int> <adj>"),
    (5, "<the> <aspects> {were|are|<bes>} <int> <adj>"),
    (3, "<the> <thing> {was|is} <int> <adj> and <int> <adj>"),
    (3, "<the> <aspect> {was|is} <int> <adj> and the <aspects> {were|are} <int> <adj>"),
    (5, "{It|This|That} {was|is|<be>} <int> <adj>"),
    (3, "<int> <adj>"),
    (2, "<int> <adj> <thing>"),
    (2, "<adj> and <adj>"),
    (2, "<adj>, <adj>, <adj>"),
    (2, "<adj> <aspect>, <adj> <aspects>"),
    (2, "{what a|such a|a|really a|it is a|this is a|we had a} <int> <adj> <thing>"),
    (1, "{what|such} <adj> <aspects>"),
    (5, "I <verb> <the> {<thing>|<thing>|<aspect>|<aspects>} <time>"),
    (3, "I <verb> {it|this|them|everything about it|everything|every bit of it|the place|all of it}"),
    (3, "<who> <verb3> {it|<the> <thing>|<the> <aspect>|<the> <aspects>} <time>"),
    (3, "{I am|I was|we were|I'm|I felt|we are|everyone was|I left|we left} <int> <feeling>"),
    (2, "{I am|I was|we were|I'm} <int> <feeling> {with|by|about} <the> {<thing>|<aspect>|<aspects>}"),
    (2, "<int> <feeling>"),
    (9, "<exclaim>"),
    (24, "<clause>"),
    (3, "{it's|it is|it was|this is|that was|<the> <thing> is|<the> <thing> was} <noun>"),
    (1, "<noun>"),
    (2, "<neutral> {and|, it|. It|and it} {was|is|turned out} <int> <adj>"),
    (2, "{found|I found|I find|we found|we thought|I think|I thought} {it|<the> <thing>|<the> <aspect>} <int> <adj>"),
    (4, "{<best> <thing>|<best> <thing>|the <best> <thing>|one of the <best> <thing>s} <ever>"),
    (3, "{this|it|that} {is|was} {the <best>|easily the <best>|by far the <best>|probably the <best>} <thing> <ever>"),
    (2, "{I have|I've|we have|we've} {never|not} <did_pp> a {<worse>|<worse>|more <adj>} <thing>"),
    (4, "<the> {<thing>|<aspect>} <nbe> {<!adj>|very <!adj>|at all <!adj>|really <!adj>|<!adj> at all|that <!adj>}"),
    (2, "<the> <aspects> {weren't|were not|aren't|are not} {<!adj>|very <!adj>|<!adj> at all|that <!adj>}"),
    (4, "{It|This|That} <nbe> {<!adj>|very <!adj>|<!adj> at all|so <!adj>|<!adj> in any way}"),
    (3, "not {<!adj>|very <!adj>|<!adj> at all|a <!adj> <thing>|the least bit <!adj>|so <!adj>|really <!adj>}"),
    (2, "{I don't|I wouldn't|nobody can} {think|say|claim|believe} {it|<the> <thing>|<the> <aspect>} {is|was} <!adj>"),
    (1, "{nothing|there was nothing|there is nothing} <!adj> about {it|<the> <thing>}"),
    (1, "{not <!noun>|it's not <!noun>|it wasn't <!noun>|never <!adj>|{I'm|I was|we were} not <int> <!feeling>}"),
    (1, "{<adj> {as always|as usual|again|every time}|always <adj>|still <adj>|never <!adj>}"),
)

_EXTRA = {
    "pos": {"best": "{best|greatest|finest|nicest|coolest|loveliest|sweetest|funniest|most <adj>}", "worse": "better"},
    "neg": {"best": "{worst|lousiest|ugliest|dumbest|poorest|dullest|most <adj>|least <!adj>}", "worse": "worse"},
}
_EVER = (
    "{ever|I've ever <did_pp>|I have ever <did_pp>|in town|of the year|in years|of my life|in the world|so far|in ages|"
    "by far|I know|on the market|this year|we have ever <did_pp>|I ever <did_pp>|in a long time|out there|}"
)
_DID_PP = "{seen|had|read|tried|bought|used|visited|heard|eaten|owned|been to|experienced|made|tasted|come across|met}"

_SAME = (
    "{a}. {b}", "{a}, {b}", "{a} and {b}", "{a}! {b}", "{a}. {b}", "{a}; {b}", "{a} - {b}", "{a}, and {b}",
    "{a} because {b}",
)  # fmt: skip
_TURN = (
    "{a}, but {b}", "{a} but {b}", "{a}. But {b}", "{a}, yet {b}", "{a}; however, {b}", "{a}. However, {b}",
    "although {a}, {b}", "even though {a}, {b}", "{b}, although {a}", "{b} even though {a}", "{a}, though {b}",
    "while {a}, {b}", "{a}. Still, {b}", "{a}, but overall {b}", "{a} at first, but {b}", "{a}, but in the end {b}",
    "{b}, even if {a}", "I was told that {a}, but {b}", "I thought {a}, but {b}", "despite what people say, {b}",
    "{a}. Nevertheless, {b}", "they say {a}, but {b}", "{a}, but {b}", "{a}, but {b}",
)  # fmt: skip


_DOUBLE_NOT = re.compile(
    r"(\bnot|n't|\bnever|\bno|\bhardly|thing) (\w+ )?(not|no|never|too|nothing)\b|n't .* n't|not just\b"
)


@cache
def _grammar() -> Grammar:
    return Grammar("sentiment_general.txt", "sentiment_domains.txt")


@cache
def _weighted() -> tuple[list[str], list[int]]:
    return [pattern for _, pattern in _STATEMENTS], [weight for weight, _ in _STATEMENTS]


def statement(polarity: str, domain: str, rng: random.Random) -> str:
    """One clause of opinion; ``polarity`` is ``pos`` or ``neg``."""
    other = _OPPOSITE[polarity]
    scope = Scope((f"{domain}.{polarity}", polarity, domain), (f"{domain}.{other}", other, domain))
    pattern = rng.choices(*_weighted())[0]
    pattern = pattern.replace("<ever>", _EVER).replace("<did_pp>", _DID_PP)
    for name, text in _EXTRA[polarity].items():
        pattern = pattern.replace(f"<{name}>", text)
    text = _grammar().fill(pattern, rng, scope)
    if not text or _DOUBLE_NOT.search(text):
        return statement(polarity, domain, rng)
    return text


def opinion(polarity: str, rng: random.Random) -> str:
    """A whole opinion of one to three clauses; where two disagree, the one after "but" decides."""
    domain = rng.choice(_DOMAINS)
    last = statement(polarity, domain, rng)
    draw = rng.random()
    if draw < 0.46:
        text = last
    elif draw < 0.58:
        text = rng.choice(_TURN).format(a=statement(_OPPOSITE[polarity], domain, rng), b=last)
    elif draw < 0.82:
        text = _joined(statement(polarity, domain, rng), last, rng)
    elif draw < 0.92:
        neutral = _grammar().expand("neutral", rng, Scope((domain,)))
        text = _joined(neutral, last, rng) if rng.random() < 0.7 else _joined(last, neutral, rng)
    else:
        text = ". ".join([statement(polarity, domain, rng), capitalised(statement(polarity, domain, rng)), last])
    return tidy_spaces(_grammar().expand("opener", rng) + " " + text) if rng.random() < 0.12 else tidy_spaces(text)


def _joined(first: str, second: str, rng: random.Random) -> str:
    pattern = rng.choice(_SAME)
    return pattern.format(a=first.rstrip("."), b=capitalised(second) if pattern[3] in ".!" else second)


def sample(rng: random.Random) -> Example:
    """An opinion and ``positive`` or ``negative``."""
    polarity = rng.choice(("pos", "neg"))
    text = typed(opinion(polarity, rng), rng)
    return Example(text, LABELS[0] if polarity == "pos" else LABELS[1], text)
