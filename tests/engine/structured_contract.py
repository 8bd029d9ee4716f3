"""What the port promises about answers that must have a form. A part of every decoder engine's contract.

The tokens of a test are all words over four letters: so each form can be written in many ways, and Python's own regular
expressions say what fits.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from dataclasses import replace
from functools import cache

import pytest

from server.engine.errors import StructureFailed
from server.engine.events import FinishReason, RequestFailed, RequestFinished, TokenEvent
from server.structured_outputs.compiled import CompiledConstraint
from server.structured_outputs.vocabulary import Vocabulary
from tests.engine.contract import reason_of, tokens_of
from tests.structured_outputs.forms import compiled

REGEXES = ["(ab|c)*d{2,3}", "[abcd]{2,6}", "a(bb|cc)+d", "ab|abc|abcd"]


@cache
def words(vocab_size: int, eos: int) -> Vocabulary:
    """The end token, and a word over `abcd` for every other token, short ones first."""
    numbered = itertools.chain.from_iterable(itertools.product(b"abcd", repeat=length) for length in itertools.count(1))
    tokens = [b"<end>" if token == eos else bytes(next(numbered)) for token in range(vocab_size)]
    return Vocabulary(tokens, special=[eos], ends=[eos])


@cache
def compiled_for(vocab_size: int, eos: int, regex: str) -> CompiledConstraint:
    """A regular expression over the words."""
    return compiled(words(vocab_size, eos), regex=regex)


def with_form(subject, regex, **asked):
    """A request whose answers match a regular expression."""
    request = subject.generate(**({"max_tokens": 12, "ignore_eos": False} | asked))
    constraint = compiled_for(subject.vocab_size, subject.eos, regex)
    return replace(request, kind=replace(request.kind, constraint=constraint))


def text_of(subject, events, choice=0):
    """The text of one choice, without its end token."""
    tokens = words(subject.vocab_size, subject.eos).tokens
    return b"".join(tokens[one] for one in tokens_of(events, choice) if one != subject.eos).decode()


class StructuredContract:
    """The suite."""

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    async def test_answers_have_their_form(self, subject, temperature):
        """All forms in one batch, several choices each, behind soft prompts and without one."""
        requests = [
            with_form(subject, regex, n=2, prefix=prefix, task=str(prefix), temperature=temperature, seed=seed)
            for seed, regex in enumerate(REGEXES)
            for prefix in (None, subject.make_prefix(seed, 3))
        ]
        answers = await asyncio.gather(*map(subject.ask, requests))
        for request, events in zip(requests, answers, strict=True):
            assert isinstance(events[-1], RequestFinished)
            for choice in (0, 1):
                if reason_of(events, choice) is FinishReason.STOP:
                    assert re.fullmatch(request.kind.constraint.constraint.source, text_of(subject, events, choice))
        assert sum(reason_of(events) is FinishReason.STOP for events in answers) >= 6

    async def test_a_complete_form_ends_the_answer_at_once(self, subject):
        """Without an end token, whatever `min_tokens` says, and what follows is not counted."""
        events = await subject.ask(with_form(subject, "abcd", min_tokens=12))
        assert (text_of(subject, events), reason_of(events)) == ("abcd", FinishReason.STOP)
        assert subject.eos not in tokens_of(events)
        await subject.idle()

    async def test_the_end_token_comes_where_the_form_is_complete(self, subject):
        """Not before it, however likely it is; and never where it does not end the answer."""
        bias = (*subject.avoid, (subject.eos, 100.0))
        events = await subject.ask(with_form(subject, "[abcd]{2,6}", logit_bias=bias))
        assert tokens_of(events)[-1] == subject.eos and 2 <= len(text_of(subject, events)) <= 6
        endless = await subject.ask(with_form(subject, "[abcd]{2,6}", logit_bias=bias, ignore_eos=True))
        assert len(text_of(subject, endless)) == 6 and subject.eos not in tokens_of(endless)

    async def test_a_stop_token_ends_an_answer_inside_its_form(self, subject):
        """It is reported, and need not fit the rest."""
        vocabulary = words(subject.vocab_size, subject.eos)
        bias = (*subject.avoid, (vocabulary.tokens.index(b"b"), 100.0))
        stop = frozenset({vocabulary.tokens.index(b"b")})
        events = await subject.ask(with_form(subject, "(a|b){5}", logit_bias=bias, stop_token_ids=stop))
        assert (text_of(subject, events), reason_of(events)) == ("b", FinishReason.STOP)

    async def test_log_probabilities_are_those_that_the_form_allows(self, subject):
        """They sum to one, and the others are not listed."""
        events = await subject.ask(with_form(subject, "b|c|aa", num_logprobs=8, max_tokens=1, logit_bias=()))
        (event,) = [event for event in events if isinstance(event, TokenEvent)]
        tokens = words(subject.vocab_size, subject.eos).tokens
        assert {tokens[token] for token, _ in event.logprob.top} == {b"a", b"b", b"c", b"aa"}
        assert sum(math.exp(value) for _, value in event.logprob.top) == pytest.approx(1.0, abs=1e-4)

    async def test_neighbours_without_a_form_are_not_touched(self, subject):
        """Their tokens are those that they get alone, greedy and by a seed."""
        plain = [subject.generate(subject.text(6, seed), temperature=seed % 2, seed=seed) for seed in range(4)]
        alone = [await subject.tokens(request) for request in plain]
        asked = [with_form(subject, regex, n=2, temperature=1.0, seed=3) for regex in REGEXES]
        again = [replace(request, request_id=subject.name()) for request in plain]
        answers = await asyncio.gather(*(subject.ask(one) for pair in zip(again, asked, strict=True) for one in pair))
        assert [tokens_of(events) for events in answers[::2]] == alone

    async def test_a_form_that_cannot_go_on_fails_its_request_alone(self, subject):
        """No token has the letter; a neighbour and the next request are answered."""
        bad, good = await asyncio.gather(
            subject.ask(with_form(subject, "a\u00e9")), subject.ask(with_form(subject, "abcd"))
        )
        assert isinstance(bad[-1], RequestFailed) and isinstance(bad[-1].cause, StructureFailed)
        assert "no token of the base model" in str(bad[-1].cause)
        assert text_of(subject, good) == "abcd"
        assert text_of(subject, await subject.ask(with_form(subject, "abcd"))) == "abcd"

    async def test_a_choice_that_is_aborted_leaves_the_others_their_form(self, subject):
        """Each choice stands in the form by itself."""
        request = with_form(subject, "[abcd]{40}", n=3, temperature=1.0, seed=3, max_tokens=48)
        events = []
        async for event in subject.client.stream(request):
            events.append(event)
            if isinstance(event, TokenEvent) and event.choice == 1 and len(tokens_of(events, 1)) == 1:
                subject.client.abort(request.request_id, 1)
        assert reason_of(events, 1) is FinishReason.ABORTED
        for choice in (0, 2):
            assert re.fullmatch("[abcd]{40}", text_of(subject, events, choice))
