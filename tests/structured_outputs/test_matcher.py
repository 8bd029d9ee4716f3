"""Which tokens may come next, compared with each token tried by itself."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from concurrent.futures import Future

import pytest

from server.structured_outputs.errors import MatcherFailed, VocabularyUnsupported
from server.structured_outputs.masks import MaskThreads
from server.structured_outputs.vocabulary import Vocabulary
from server.tokenizer.token_table import describe
from tests.fakes import tokenizers
from tests.structured_outputs.forms import LETTERS, allowed_slowly, compiled, tokens_in, walk

END = frozenset({0})
FORMS = [
    {"regex": "(ab|c)*d{2,3}"},
    {"regex": "a*"},
    {"choice": ["a", "ab", "abc d"]},
    {"grammar": 'start: "a" start "b" | "c"'},
    {"grammar": 'root ::= "a" root "b" | "c"'},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_mask_is_what_each_token_tried_alone_says(form, seed):
    """No token that could continue is missing, none that could not is there, and the end comes with a whole answer."""
    constraint, rng = compiled(**form), random.Random(seed)
    matcher, tokens = constraint.matcher(END), []
    while not matcher.is_complete and len(tokens) < 12:
        allowed = tokens_in(matcher.next_mask(), LETTERS.num_tokens)
        assert allowed == allowed_slowly(constraint, tokens, END)
        tokens.append(rng.choice([one for one in allowed if one not in END] or [0]))
        if tokens[-1] == 0:
            break
        matcher.consume(tokens[-1])


@pytest.mark.parametrize("family", sorted(tokenizers.FAMILIES.keys() - {"wordpiece"}))
def test_every_family_of_tokenizers_writes_json(family):
    """An answer of its tokens, chosen at random, is the JSON text of its schema once it is complete."""
    tokenizer = tokenizers.FAMILIES[family]
    vocabulary = describe(tokenizer, tokenizer.num_ids, tokenizer.eos_token_ids())
    schema = {"type": "array", "items": {"enum": ["a b", "c"]}, "minItems": 1, "maxItems": 2}
    constraint = compiled(vocabulary, json=schema, after_space=vocabulary.drops_space)
    rng = random.Random(0)
    for _ in range(5):
        matcher, tokens = constraint.matcher(vocabulary.ends), []
        while not matcher.is_complete:
            tokens.append(rng.choice(tokens_in(matcher.next_mask(), vocabulary.num_tokens)))
            matcher.consume(tokens[-1])
        text = tokenizer.decode(tokens)
        assert text.startswith("[") and text.endswith("]"), text


def test_a_space_that_decoding_drops_comes_first():
    """Sentencepiece begins a text with a space; the form begins behind it."""
    assert walk(compiled(choice=["ab"], after_space=True).matcher(END), [11, 2]) == [[9, 11], [2]]


def test_end_tokens_are_those_of_the_answer():
    """Without its end token an answer goes on; a special stop token ends it where the end token would."""
    vocabulary = type(LETTERS)([b"<e>", b"a", b"<s>"], special=[0, 2], ends=[0], drops_space=False)
    constraint = compiled(vocabulary, regex="aa*")
    assert walk(constraint.matcher(frozenset({0})), [1]) == [[1], [0, 1]]
    assert walk(constraint.matcher(frozenset()), [1]) == [[1], [1]]
    assert walk(constraint.matcher(frozenset({0, 2})), [1]) == [[1], [0, 1, 2]]


def test_a_vocabulary_without_an_end_token_ends_where_nothing_can_follow():
    """The matcher's own end token is beyond the base model's rows."""
    vocabulary = type(LETTERS)([b"a", b"b"], special=[], ends=[], drops_space=False)
    matcher = compiled(vocabulary, regex="ab?").matcher(frozenset())
    assert walk(matcher, [0]) == [[0], [1]]
    matcher.consume(1)
    assert matcher.is_complete


def test_a_token_that_is_not_allowed_fails():
    """So does a form that the vocabulary cannot finish."""
    with pytest.raises(MatcherFailed):
        compiled(regex="a").matcher(END).consume(2)
    matcher = compiled(regex="a\u00e9").matcher(END)
    matcher.consume(1)
    with pytest.raises(MatcherFailed, match="no token of the base model"):
        matcher.next_mask()


def test_a_token_of_another_process_is_followed():
    """One that the form does not allow fails, with what is wrong: no token may come, or the other let it pass."""
    matcher = compiled(regex="ab?").matcher(frozenset())
    matcher.follow(1)
    with pytest.raises(MatcherFailed, match="too complex"):
        matcher.follow(3)
    without_end = compiled(regex="a(\u00e9)?").matcher(frozenset())
    without_end.follow(1)
    for token_id in (0, 1):
        with pytest.raises(MatcherFailed, match="no token of the base model"):
            without_end.follow(token_id)


def test_masks_filled_on_the_thread_are_those_filled_alone():
    """Many matchers in one call, each with its own state."""
    constraint = compiled(regex="(ab|c)*d{2,3}")
    several = [constraint.matcher(END) for _ in range(3)]
    for number, matcher in enumerate(several):
        for _ in range(number + 1):
            matcher.consume(3)
    MaskThreads().fill(several)
    assert not any(matcher.is_stale for matcher in several)
    for number, matcher in enumerate(several):
        found = tokens_in(matcher.next_mask(), LETTERS.num_tokens)
        assert found == allowed_slowly(constraint, [3] * (number + 1), END)


def test_a_mask_that_nobody_takes_ends_no_later_wait():
    """Its answer was aborted. The first wait returns for it, the next one waits for another."""
    masks, done, pending = MaskThreads(), Future(), Future()
    done.set_result(None)
    masks._open = [done, pending]
    masks.wait_for_one(10)
    assert masks._open == [pending]


def test_a_matcher_may_be_dropped_before_its_mask_is_filled():
    """As when its request is aborted: the thread still writes into memory that is there."""
    masks, gate, matcher = MaskThreads(), threading.Event(), compiled(regex="a*").matcher(END)
    masks._shared_thread.submit(gate.wait)
    matcher.consume(1)
    masks.fill([matcher])
    array = weakref.ref(matcher._mask.base)
    del matcher
    gc.collect()
    assert array() is not None
    gate.set()
    masks._shared_thread.submit(int).result()
    gc.collect()
    assert array() is None


def test_a_vocabulary_is_the_same_in_another_process():
    """Its text has every byte of every token."""
    vocabulary = Vocabulary(
        [b"<end>", b"\xff\x00", "\u00e9".encode(), b" a"], [0], [0], drops_space=True, spaces_kept=[3]
    )
    read = Vocabulary.from_json(vocabulary.to_json())
    assert read.to_json() == vocabulary.to_json() and read.tokens == vocabulary.tokens
    assert (read.special, read.ends, read.drops_space, read.spaces_kept) == ({0}, {0}, True, {3})


def test_wordpiece_cannot_be_described():
    """Its decoder puts spaces where no token has one."""
    tokenizer = tokenizers.wordpiece()
    with pytest.raises(VocabularyUnsupported, match="kept in a form"):
        describe(tokenizer, tokenizer.num_ids, ())
