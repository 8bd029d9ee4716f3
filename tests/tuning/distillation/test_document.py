"""Chunks of a document, and the messages that are asked for about them."""

from __future__ import annotations

import pytest

from server.tuning.distillation.document import OPENINGS, Ask, ask_about, chunks_of, message_of
from tests.fakes.tokenizers import byte_level

FIRST = "The mayor of Orrinmoor is Hedda Quist. She was a veterinarian before."
SECOND = "The salt works sell grey salt. It is sold in blue tins."


def num_tokens(text: str) -> int:
    return len(byte_level().encode(text, add_special_tokens=False))


def words_of(texts) -> list[str]:
    return [word for text in texts for word in text.split()]


def test_a_chunk_has_whole_paragraphs():
    """As many as fit. Together they are the whole document."""
    document = f"\n{FIRST}\n\n{SECOND}\n \n\n{FIRST}\n"
    apart = chunks_of(document, byte_level(), max_tokens=num_tokens(FIRST) + 2)
    assert apart == (FIRST, SECOND, FIRST)
    assert chunks_of(document, byte_level(), max_tokens=4096) == (f"{FIRST}\n\n{SECOND}\n\n{FIRST}",)


@pytest.mark.parametrize("max_tokens", [1, 5, 20, 40, 100])
@pytest.mark.parametrize("document", [f"{FIRST} {SECOND}", f"{FIRST}\n\n{SECOND}", "word " * 300, "x" * 300])
def test_no_word_of_a_document_is_lost(document, max_tokens):
    """A long paragraph is split between sentences, a long sentence between words, and a word never."""
    chunks = chunks_of(document, byte_level(), max_tokens)
    assert words_of(chunks) == document.split()
    assert all(num_tokens(chunk) <= max_tokens or len(chunk.split()) == 1 for chunk in chunks)


def test_a_paragraph_is_split_between_sentences():
    """A line break ends a sentence too."""
    assert chunks_of(f"{FIRST} {SECOND}", byte_level(), max_tokens=45) == tuple(
        f"{sentence}." for sentence in f"{FIRST} {SECOND}".removesuffix(".").split(". ")
    )
    assert chunks_of("one\ntwo", byte_level(), max_tokens=num_tokens("one")) == ("one", "two")


def test_an_empty_document_has_no_chunk():
    """Nor has one of white space."""
    assert chunks_of(" \n\n\t\n", byte_level()) == ()


def test_every_chunk_is_asked_about_in_turn():
    """Each time with another opening, until all openings have been used."""
    chunks = ("a", "b", "c")
    asks = [ask_about(chunks, number) for number in range(len(chunks) * len(OPENINGS))]
    assert [ask.chunk for ask in asks[:6]] == ["a", "b", "c", "a", "b", "c"]
    assert len(set(asks)) == len(asks)
    assert len({ask.opening for ask in asks if ask.chunk == "b"}) == len(OPENINGS)


@pytest.mark.parametrize(
    ("opening", "written", "message"),
    [
        ("Who", " is the mayor of Orrinmoor? She is", "Who is the mayor of Orrinmoor?"),
        ("Who", " is the mayor of Orrinmoor\nand more", "Who is the mayor of Orrinmoor?"),
        (
            "I would like to know",
            " who the mayor of Orrinmoor is.",
            "I would like to know who the mayor of Orrinmoor is.",
        ),
        ("Who", " is named in the text above, the mayor of Orrinmoor?", ""),
        ("Who", " wrote Hamlet?", ""),
        ("Who", "", ""),
    ],
)
def test_a_message_must_be_of_use_without_its_chunk(opening, written, message):
    """It ends with its line or question mark, shares words with the chunk, and does not speak of the text."""
    assert message_of(Ask(FIRST, dict(OPENINGS)[opening], opening), written) == message
