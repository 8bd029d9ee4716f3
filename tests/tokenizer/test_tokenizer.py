import concurrent.futures
import copy

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from server.tokenizer.errors import TokenizerUnsupported, UnknownToken
from server.tokenizer.template import fill_template
from server.tokenizer.tokenizer import Tokenizer
from tests.fakes.tokenizers import END, byte_level, sentencepiece


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_token_bytes_join_to_the_text(make):
    """The bytes of single tokens, joined, are the text (behind sentencepiece's own leading space)."""
    tokenizer = make()
    text = "the Größe 你好 😀"
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    assert b"".join(map(tokenizer.token_bytes, token_ids)).decode().removeprefix(" ") == text


def test_special_tokens_are_added_by_default_only_where_the_tokenizer_does():
    """None means the tokenizer's own default: a begin token for one family, none for the other."""
    assert sentencepiece().encode("a")[0] == 1
    assert sentencepiece().encode("a", add_special_tokens=False)[0] != 1
    assert byte_level().encode("a") == byte_level().encode("a", add_special_tokens=False)


def test_the_end_token_reads_as_its_name():
    """Special tokens have a text of their own for log-probabilities, and none in an answer."""
    tokenizer = byte_level()
    assert tokenizer.token_text(tokenizer.eos_token_id) == END
    assert tokenizer.decode([tokenizer.eos_token_id]) == ""
    assert tokenizer.eos_token_ids({7}) == {tokenizer.eos_token_id, 7}
    assert tokenizer.id_mapping[END] == tokenizer.eos_token_id
    assert len(tokenizer.id_mapping) == tokenizer.vocab_size


@pytest.mark.parametrize(("special", "borders"), [((), (0, 0)), ((END,), (0, 2))])
def test_a_border_is_where_the_last_special_token_begins(special, borders):
    """Without one, and without special tokens at all, the text is one piece."""
    backend = Backend(models.WordLevel({"a": 0, END: 1}, unk_token="a"))
    tokenizer = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, additional_special_tokens=list(special)))
    assert (tokenizer.last_border("a a"), tokenizer.last_border(f"a {END} a")) == borders


@pytest.mark.parametrize("token_id", [-1, 10**12, byte_level().vocab_size])
def test_ids_outside_the_vocabulary_are_refused(token_id):
    """Checked before any of them reaches the Rust tokenizer."""
    with pytest.raises(UnknownToken):
        byte_level().check_ids([0, token_id])


def test_ids_without_a_row_in_the_base_model_are_refused_and_end_nothing():
    """Of texts, of ids, and of end tokens: the tokenizer's own and the model's, negative ones too."""
    whole, narrow = sentencepiece(), sentencepiece(lacks_rows=True)
    missing = narrow.id_mapping["[PAD]"]
    assert (narrow.num_ids, narrow.num_ids_without_row, whole.num_ids_without_row) == (missing, 101, 0)
    assert narrow.encode("a the") == whole.encode("a the")
    with pytest.raises(
        UnknownToken, match=f"token id {missing}, and the base model has rows for ids 0 to {missing - 1}"
    ):
        narrow.encode("a [PAD]")
    with pytest.raises(UnknownToken, match=f"from 0 to {missing - 1}"):
        narrow.check_ids([missing])
    assert narrow.eos_token_ids({7, -1, missing, missing + 500}) == {2, 7}
    pretrained = copy.deepcopy(narrow._pretrained)
    pretrained.eos_token = "[PAD]"
    assert Tokenizer(pretrained, num_rows=missing).eos_token_id is None
    assert Tokenizer(pretrained).eos_token_id == missing


def test_padding_of_the_embeddings_and_holes_among_the_ids_change_nothing():
    """Rows that no token has are never asked for; the ids of tokens behind a hole are ids."""
    padded = sentencepiece(), Tokenizer(sentencepiece()._pretrained, num_rows=4096)
    assert padded[0].num_ids == padded[1].num_ids
    backend = Backend(models.WordLevel({"a": 0, "b": 9}, unk_token="a"))
    holed = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend), num_rows=10)
    assert (holed.vocab_size, holed.num_ids, holed.encode("b")) == (2, 10, (9,))
    holed.check_ids(holed.encode("b"))


def test_threads_do_not_disturb_each_other():
    """Encoding and decoding change nothing in the tokenizer they share."""
    tokenizer = byte_level()
    texts = [f"text {number} " * 50 for number in range(32)]
    expected = [tokenizer.encode(text) for text in texts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.encode, texts)) == expected
        assert list(pool.map(tokenizer.decode, expected)) == texts


def test_a_saved_tokenizer_loads_again(tmp_path):
    """From a local folder; one without a tokenizer is refused in our own words."""
    byte_level()._pretrained.save_pretrained(tmp_path)
    assert Tokenizer.load(tmp_path).encode("the lazy dog") == byte_level().encode("the lazy dog")
    with pytest.raises(TokenizerUnsupported, match="no tokenizer can be loaded"):
        Tokenizer.load(tmp_path / "nothing")


async def test_long_texts_are_encoded_alike():
    """Off the event loop or on it, the ids are the same."""
    text = "the quick brown fox " * 500
    assert await byte_level().encode_all([text, "a"]) == (byte_level().encode(text), byte_level().encode("a"))


def test_a_template_replaces_nothing_but_its_placeholder():
    """Braces of template and text are text; the input is never interpreted again."""
    assert fill_template(" {input} ->", "a {input} {0} %s") == " a {input} {0} %s ->"
    assert fill_template("{x} {{ {input} }}", "y") == "{x} {{ y }}"
    assert fill_template(None, "{input}") == "{input}"


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
@pytest.mark.parametrize("add_special_tokens", [True, False])
def test_ids_are_those_of_transformers(make, add_special_tokens):
    """Going around transformers' own call changes nothing: a prompt here is what training saw."""
    tokenizer = make()
    for text in ("the lazy dog", " leading", "<end> and </s>", "déjà\n\n你好 😀", ""):
        expected = tokenizer._pretrained(text, add_special_tokens=add_special_tokens)["input_ids"]
        assert tokenizer.encode(text, add_special_tokens=add_special_tokens) == tuple(expected)
        assert tokenizer.decode(expected) == tokenizer._pretrained.decode(expected, skip_special_tokens=True)
