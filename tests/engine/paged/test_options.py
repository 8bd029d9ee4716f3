"""The check of a request: its errors and their words. A request that passes can always be served."""

from __future__ import annotations

import re

import pytest

from server.engine.errors import (
    ContextExceeded,
    EngineError,
    PrefixTooLarge,
    PromptEmpty,
    RequestRefused,
    TokenOutOfRange,
)
from server.engine.paged.options import check_request, check_together
from server.engine.request import Request, Score
from tests.engine.paged.alone import check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text
from tests.engine.paged.scripted_runner import VOCAB_SIZE, make_prefix

OPTIONS = make_options(num_blocks=9, max_context=28, max_prefix_blocks=3)  # 32 tokens of cache, 12 of prefixes
RANGE = f"token ids must be from 0 to {VOCAB_SIZE - 1}"


def score(prompt: tuple[int, ...], *continuations: tuple[int, ...]) -> Request[Score]:
    """A request that scores continuations."""
    return Request("r", "", prompt, Score(continuations))


REFUSALS = {
    "empty prompt": (generate("r", ()), PromptEmpty, "the prompt is empty: at least one token is needed"),
    "empty score prompt": (score((), (1,)), PromptEmpty, "the prompt is empty"),
    "prompt token too large": (generate("r", (1, VOCAB_SIZE)), TokenOutOfRange, RANGE),
    "negative prompt token": (generate("r", (-1, 1)), TokenOutOfRange, RANGE),
    "stop token": (generate("r", stop_token_ids=frozenset({99})), TokenOutOfRange, RANGE),
    "biased token": (generate("r", logit_bias=((VOCAB_SIZE, 1.0),)), TokenOutOfRange, RANGE),
    "continuation token": (score((1,), (1,), (2, 99)), TokenOutOfRange, RANGE),
    "context": (
        generate("r", text(15), prefix=make_prefix(1, 6), max_tokens=8),
        ContextExceeded,
        "the context holds 28 tokens (--max-context): 6 virtual tokens + 15 prompt tokens + 8 new tokens = 29",
    ),
    "context of a score": (
        score(text(25), (1,), (1, 2, 3, 4)),
        ContextExceeded,
        "the context holds 28 tokens (--max-context): 0 virtual tokens + 25 prompt tokens + 4 new tokens = 29",
    ),
    "prefix": (
        generate("r", prefix=make_prefix(1, 13)),
        PrefixTooLarge,
        "the soft prompt has 13 virtual tokens; this server keeps room for 12 (--max-prefix-share",
    ),
    "no continuations": (score((1,)), RequestRefused, "at least one continuation"),
    "empty continuation": (score((1,), (1,), ()), RequestRefused, "at least one token"),
    "no choices": (generate("r", num_choices=0), RequestRefused, "at least one choice"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_could_never_be_served_is_refused_with_its_reason(name):
    request, error, message = REFUSALS[name]
    with pytest.raises(error, match=re.escape(message)):
        check_request(request, OPTIONS)
    assert issubclass(error, EngineError)


def test_what_the_cache_cannot_hold_is_refused_with_the_numbers():
    options = make_options(num_blocks=6, max_context=1000, max_prefix_blocks=2)
    numbers = "0 virtual tokens + 13 prompt tokens + 8 new tokens = 21"
    message = f"this server's KV cache holds 20 tokens (--num-kv-blocks): {numbers}"
    with pytest.raises(ContextExceeded, match=re.escape(message)):
        check_request(generate("r", text(13)), options)


@pytest.mark.parametrize("num_virtual", [0, 1, 3, 4, 5, 7, 8])
def test_the_largest_request_that_passes_is_served(num_virtual):
    """A part-filled virtual block exists twice: in the prefix and as the sequence's copy."""
    options = make_options(num_blocks=9, max_context=1000, max_prefix_blocks=2)
    prefix = make_prefix(1, num_virtual) if num_virtual else None
    longest = 0
    for length in range(1, 40):
        try:
            check_request(generate("r", text(length), prefix=prefix, max_tokens=3), options)
            longest = length
        except ContextExceeded:
            break
    assert longest > 16
    harness = EngineHarness(options)
    events = harness.add(generate("r", text(longest), prefix=prefix, max_tokens=3))
    harness.drain(most=100)
    check_answer(harness.requests["r"], events)
    harness.check_empty()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_batch_tokens": 7}, "max_batch_tokens must .* max_num_seqs"),
        ({"max_prefix_blocks": 128}, "max_prefix_blocks must leave at least one block for text"),
        ({"max_prefix_blocks": 0}, "max_prefix_blocks must leave at least one block for text"),
    ],
)
def test_sizes_that_could_not_work_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_options(**changes)


def test_more_prompts_than_the_queue_ever_holds_are_refused():
    """They are not asked to try again later."""
    options = make_options(max_open_requests=3)
    check_together([None] * 3, options)
    with pytest.raises(RequestRefused, match=r"4 prompts.*at most 3 at once \(--max-waiting and --max-num-seqs\)"):
        check_together([None] * 4, options)


def test_prefixes_of_one_answer_must_fit_together():
    """Each takes whole blocks, the same one only once, and no prefix takes none."""
    four, eight, five = make_prefix(1, 4), make_prefix(2, 8), make_prefix(3, 5)
    check_together([four, eight, None], OPTIONS)
    check_together([four, four, four, eight], OPTIONS)
    message = "the soft prompts have 13 virtual tokens together; this server keeps room for 12"
    with pytest.raises(PrefixTooLarge, match=message):
        check_together([eight, five], OPTIONS)
