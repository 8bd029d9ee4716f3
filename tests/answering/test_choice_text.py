from hypothesis import given, settings
from hypothesis import strategies as st

from server.answering.choice_text import ChoiceText
from server.engine.events import FinishReason, TokenEvent, TokenLogprob
from tests.fakes.tokenizers import byte_level

TOKENIZER = byte_level()
token_lists = st.lists(st.integers(2, TOKENIZER.vocab_size - 1), min_size=1, max_size=30)
stops = st.lists(st.sampled_from(["a", " t", "the", "\ufffd\ufffd", "é", "er"]), max_size=2)


def deltas_of(token_ids, stop=(), min_tokens=0, reason=FinishReason.LENGTH):
    choice = ChoiceText(0, TOKENIZER, (), stop, min_tokens)
    deltas = []
    for number, token_id in enumerate(token_ids, start=1):
        is_last = number == len(token_ids)
        event = TokenEvent(0, token_id, TokenLogprob(token_id, -float(number)), reason if is_last else None)
        deltas.append(choice.feed(event))
        if choice.is_finished:
            return deltas
    raise AssertionError("the last token ends the choice")


@settings(max_examples=300, deadline=None)
@given(token_lists, stops)
def test_text_tokens_and_reason_agree(token_ids, stop):
    """Whatever is generated: the text is the decoding up to a stop string, its tokens those that begin in it."""
    deltas = deltas_of(token_ids, stop)
    text = "".join(delta.text for delta in deltas)
    tokens = [token for delta in deltas for token in delta.tokens]
    whole = TOKENIZER.decode(token_ids)
    assert whole.startswith(text)
    assert not any(s in text for s in stop)
    if deltas[-1].finish_reason is FinishReason.STOP:
        assert any(whole[len(text) :].startswith(s) for s in stop)
        assert all(token.offset < len(text) for token in tokens)
    else:
        assert text == whole
        assert [token.token_id for token in tokens] == token_ids
    assert [token.token_id for token in tokens] == token_ids[: len(tokens)]
    assert [token.logprob.logprob for token in tokens] == [-float(n) for n in range(1, len(tokens) + 1)]
    offsets = [token.offset for token in tokens]
    assert offsets == sorted(offsets)
    assert [token_id for delta in deltas for token_id in delta.token_ids] == token_ids[: len(deltas)]


@settings(max_examples=100, deadline=None)
@given(token_lists)
def test_the_end_token_is_withheld(token_ids):
    """From the text and its tokens, not from the ids that were generated."""
    deltas = deltas_of([*token_ids, TOKENIZER.eos_token_id], reason=FinishReason.STOP)
    assert "".join(delta.text for delta in deltas) == TOKENIZER.decode(token_ids)
    assert [token.token_id for delta in deltas for token in delta.tokens] == token_ids
    assert deltas[-1].token_ids == (TOKENIZER.eos_token_id,)


@settings(max_examples=100, deadline=None)
@given(token_lists)
def test_a_token_is_told_with_its_first_character(token_ids):
    """A stream's reader never sees a log-probability of text that is still to come."""
    told = 0
    for delta in deltas_of(token_ids)[:-1]:
        told += len(delta.text)
        assert all(token.offset < told for token in delta.tokens)
