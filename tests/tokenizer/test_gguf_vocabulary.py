"""The tokenizer of a GGUF file: its ids are the file's, its special tokens too, and a foreign splitting is told."""

from __future__ import annotations

import logging

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from server.model.errors import BaseModelUnavailable
from server.model.gguf.header import read_header
from server.tokenizer import gguf_vocabulary
from server.tokenizer.chat import render_chat
from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.errors import TokenizerUnsupported
from server.tokenizer.gguf_vocabulary import check_vocabulary
from server.tokenizer.tokenizer import Tokenizer
from tests.fakes.gguf_files import BEGIN, END, TOKENS, write_gguf

PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdehnt", "\u2581a", "he"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_texts_become_the_ids_of_the_file(file):
    """Merges and special tokens included, and back again."""
    tokenizer = Tokenizer.load(file, num_rows=len(TOKENS))
    assert tokenizer.encode(f"the on{END}") == tuple(map(TOKENS.index, ("the", "\u0120", "on", END)))
    assert tokenizer.decode(tokenizer.encode("Größe 你好 in the")) == "Größe 你好 in the"
    assert (tokenizer.eos_token_id, tokenizer.num_ids, tokenizer.num_ids_without_row) == (1, len(TOKENS), 0)
    assert tokenizer.special_token_ids == {0, 1, 2}
    assert tokenizer.token_bytes(TOKENS.index("\u0120the")) == b" the"


def test_the_chat_template_is_the_files(file):
    """As transformers hands it on."""
    assert render_chat(Tokenizer.load(file), [ChatMessage("user", "hello")]) == "user: hello\nassistant: "


def test_a_sentencepiece_vocabulary_is_read_too(tmp_path):
    """Spaces and bytes as pieces, with scores in place of merges."""
    file = write_gguf(
        tmp_path / "tiny.gguf",
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": PIECES,
            "tokenizer.ggml.scores": [float(-number) for number in range(len(PIECES))],
            "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * (len(PIECES) - 259)],
            "tokenizer.ggml.merges": None,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.eot_token_id": None,
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.add_bos_token": True,
        },
    )
    tokenizer = Tokenizer.load(file)
    assert tokenizer.encode("he")[0] == 1
    assert tokenizer.decode(tokenizer.encode("a heé")) == "a heé"


@pytest.mark.parametrize(("pre", "is_told"), [("gpt-2", False), ("smollm", True), (None, True), ("llama-bpe", False)])
def test_an_unknown_pre_tokenizer_is_told(pre, is_told, tmp_path, caplog):
    """transformers splits as GPT-2 does where it does not know the file's way."""
    file = write_gguf(tmp_path / "tiny.gguf", {"tokenizer.ggml.pre": pre})
    with caplog.at_level(logging.WARNING):
        Tokenizer.load(file)
    assert [f"pre-tokenizer {pre or 'none'!r}" in record.getMessage() for record in caplog.records] == [True] * is_told


def test_a_transformers_that_keeps_its_names_elsewhere_knows_none(file, monkeypatch, tmp_path):
    """Then it is told once too often, not once too little."""

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(gguf_vocabulary, "import_module", missing)
    header = read_header(write_gguf(tmp_path / "tiny.gguf", {"tokenizer.ggml.pre": "llama-bpe"}))
    assert gguf_vocabulary.unknown_pre_tokenizer(header) == "llama-bpe"
    assert gguf_vocabulary.unknown_pre_tokenizer(read_header(file)) is None


def of_tokens(tokens):
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Backend(models.BPE(vocab=vocabulary, merges=[]))
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BEGIN, eos_token=END), vocabulary


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([*TOKENS[:5], TOKENS[6], TOKENS[5], *TOKENS[7:]], "token 5 of the GGUF file is"),
        (TOKENS[:-1], f"token {len(TOKENS) - 1} of the GGUF file is '\u0120a', and None in the tokenizer"),
    ],
)
def test_other_ids_are_refused(tokens, said, file):
    """A token that another id has, or none."""
    with pytest.raises(TokenizerUnsupported, match=said):
        check_vocabulary(*of_tokens(tokens), read_header(file))


def test_other_special_ids_are_refused(file):
    """Nothing could learn where to stop."""
    tokenizer, vocabulary = of_tokens(TOKENS)
    check_vocabulary(tokenizer, vocabulary, read_header(file))
    tokenizer.eos_token = BEGIN
    with pytest.raises(TokenizerUnsupported, match=r"eos_token_id of the GGUF file is 1, and .* has eos_token_id 0"):
        check_vocabulary(tokenizer, vocabulary, read_header(file))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"tokenizer.ggml.model": "none-such"}, "none-such"),
        ({"tokenizer.ggml.model": None}, "no tokenizer can be loaded"),
        ({"tokenizer.ggml.merges": ["t h e"]}, "no tokenizer can be loaded"),
        ({"tokenizer.ggml.merges": ["no such"]}, "no tokenizer can be loaded"),
        ({"tokenizer.ggml.merges": None}, "no tokenizer can be loaded"),
        ({"tokenizer.ggml.tokens": [*TOKENS[:-1], "the"]}, "no tokenizer can be loaded|token 26"),
    ],
    ids=str,
)
def test_a_vocabulary_of_no_use_is_said(metadata, said, tmp_path):
    """A kind that transformers does not know, merges of nothing, one text twice."""
    with pytest.raises(TokenizerUnsupported, match=said):
        Tokenizer.load(write_gguf(tmp_path / "bad.gguf", metadata))


def test_no_vocabulary_is_said(tmp_path):
    """By the key that is missing."""
    with pytest.raises(BaseModelUnavailable, match=r"no vocabulary \(tokenizer\.ggml\.tokens\)"):
        Tokenizer.load(write_gguf(tmp_path / "bad.gguf", {"tokenizer.ggml.tokens": None}))


def test_only_the_file_is_read(file, tmp_path, monkeypatch):
    """transformers is asked for it in an empty folder, by its whole path."""
    asked = []

    def load(folder, **arguments):
        asked.append(arguments["gguf_file"])
        return from_pretrained(folder, **arguments)

    from_pretrained = AutoTokenizer.from_pretrained
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", load)
    monkeypatch.chdir(file.parent)
    Tokenizer.load("tiny.gguf")
    assert asked == [str(file)]
