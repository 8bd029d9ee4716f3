import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.tokenizer.detokenizer import Detokenizer
from tests.fakes.tokenizers import FAMILIES as TOKENIZERS
from tests.fakes.tokenizers import byte_level, sentencepiece

texts = st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=60)


def pieces(tokenizer, token_ids, context=()):
    detokenizer = Detokenizer(tokenizer, context)
    return [*(detokenizer.feed(token_id) for token_id in token_ids), detokenizer.flush()]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_pieces_of_a_text_join_to_its_decoding(name, text):
    """Whatever the text, cutting it into tokens and joining the pieces loses and adds nothing."""
    tokenizer = TOKENIZERS[name]
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(pieces(tokenizer, token_ids)) == tokenizer.decode(token_ids)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, byte_level().vocab_size - 1), max_size=60))
def test_any_byte_level_tokens_join_to_their_decoding(token_ids):
    """A model may generate bytes that are no text: the pieces still join to what decoding them at once gives."""
    tokenizer = byte_level()
    assert "".join(pieces(tokenizer, token_ids)) == tokenizer.decode(token_ids)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_no_piece_holds_half_a_character(name, text):
    """A character that spans several tokens comes out whole, with the last of them."""
    tokenizer = TOKENIZERS[name]
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    assert not any("\ufffd" in piece for piece in pieces(tokenizer, token_ids))


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=100, deadline=None)
@given(prompt=texts, text=texts)
@example(prompt="0:::,,|", text="0")  # tokens without a text between the last word and the answer
def test_a_context_goes_before_the_text(name, prompt, text):
    """Behind a prompt, the pieces are what decoding prompt and answer together adds to the prompt."""
    tokenizer = TOKENIZERS[name]
    context = tokenizer.encode(prompt, add_special_tokens=False)
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    whole = tokenizer.decode([*context, *token_ids])
    assert tokenizer.decode(context) + "".join(pieces(tokenizer, token_ids, context)) == whole


def test_the_space_before_the_first_word_is_kept_behind_a_prompt():
    """A sentencepiece decoder drops the space before the very first word; the answer's first word is not that."""
    tokenizer = sentencepiece()
    context, answer = tokenizer.encode("the"), tokenizer.encode("the", add_special_tokens=False)
    assert "".join(pieces(tokenizer, answer, context)) == " the"
    assert "".join(pieces(tokenizer, answer)) == "the"


def test_special_tokens_have_no_text():
    """A special token in the middle of an answer neither shows nor swallows the space after it."""
    tokenizer = sentencepiece()
    token_ids = [*tokenizer.encode("a the", add_special_tokens=False)]
    token_ids.insert(1, tokenizer.eos_token_id)
    assert "".join(pieces(tokenizer, token_ids)) == "a the"


def test_endless_garbage_stays_cheap():
    """Bytes that never become a character are passed on in bounded pieces."""
    tokenizer = byte_level()
    detokenizer = Detokenizer(tokenizer)
    garbage = next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == b"\x80")
    told = [detokenizer.feed(garbage) for _ in range(1_000)]
    assert sum(map(len, told)) >= 900


ANSWERS = [
    "positive", " positive", "  positive", "1976-07-04", "12", "\u4f60\u597d\u4e16\u754c", "\U0001f600\U0001f603 yes",
    "\nno", "a\n\n b", "yes  no", "</s>yes", "<end>yes", "well-known", "a.", "\u00e9t\u00e9", "positive " * 30,
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_at_every_cut_a_text_of_its_own_is_its_decoding(name, answer):
    """However many of the tokens came, the pieces joined are what decoding those at once gives.

    But for half a character at the end: byte fallback then has no text for the characters before it either.
    """
    tokenizer = TOKENIZERS[name]
    token_ids = tokenizer.encode(answer, add_special_tokens=False)
    for cut in range(len(token_ids) + 1):
        whole = tokenizer.decode(token_ids[:cut])
        told = "".join(pieces(tokenizer, token_ids[:cut]))
        assert told == whole or (whole.endswith("\ufffd") and told.endswith("\ufffd"))


@pytest.mark.parametrize("name", ["sentencepiece", "metaspace_never"])
def test_a_context_of_byte_tokens_is_not_cut_amid_a_character(name):
    """An emoji behind emojis, each of four byte tokens: what is kept of the prompt begins with a whole one."""
    tokenizer = TOKENIZERS[name]
    context = tokenizer.encode("a 😀😃😀", add_special_tokens=False)
    token_ids = tokenizer.encode("a😃", add_special_tokens=False)[-4:]
    assert "".join(pieces(tokenizer, token_ids, context)) == "😃"


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=100, deadline=None)
@given(prompt=texts, text=texts, is_continued=st.booleans())
def test_the_bytes_of_tokens_in_their_places_join_to_the_text(name, prompt, text, is_continued):
    """Whether the text goes on with a prompt or is one of its own."""
    tokenizer = TOKENIZERS[name]
    special = tokenizer.special_token_ids
    context = tokenizer.encode(prompt, add_special_tokens=False) if is_continued else ()
    token_ids = [i for i in tokenizer.encode(text, add_special_tokens=False) if i not in special]
    detokenizer = Detokenizer(tokenizer, context)
    told, said = b"", ""
    for token_id in token_ids:
        told += detokenizer.next_bytes(token_id)
        said += detokenizer.feed(token_id)
    assert told.decode(errors="replace") == said + detokenizer.flush()


def test_a_token_of_whole_characters_is_decoded_once(monkeypatch):
    """However often it comes; a token of half a character is decoded with its neighbours."""
    tokenizer = byte_level()
    token_ids = tokenizer.encode(" a film, a film \u20ac")
    pieces(tokenizer, token_ids)
    calls = []
    decode = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda *given: calls.append(given) or decode(*given))
    half = [token_id for token_id in token_ids if tokenizer.lone_text(token_id) is None]
    assert "".join(pieces(tokenizer, token_ids)) == decode(token_ids)
    assert len(calls) <= 1 + 3 * len(half)
    assert len(half) < len(token_ids)
