"""The check that the tokenizer transformers builds from a GGUF file has the file's ids, and what it lacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module

from transformers import PreTrainedTokenizerBase

from server.model.gguf.base_file import TOKENS
from server.model.gguf.header import GgufHeader
from server.tokenizer.errors import TokenizerUnsupported
from server.tokenizer.token_bytes import STAND_IN_OF

_MODEL, _PRE_TOKENIZER = "tokenizer.ggml.model", "tokenizer.ggml.pre"
_BYTE_LEVEL = "gpt2"
# Split as GPT-2's own, which transformers uses where it knows none (llama.cpp, src/llama-vocab.cpp).
_SPLIT_AS_GPT2 = frozenset({"gpt-2", "phi-2", "mpt", "olmo", "jais"})
_SPECIAL_TOKENS = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, vocabulary: Mapping[str, int], header: GgufHeader) -> None:
    """Raise `TokenizerUnsupported` unless every token of the file has its id, and the special ids are the file's.

    `vocabulary` is every token of `tokenizer` and its id.
    """
    tokens = header.metadata[TOKENS]
    assert isinstance(tokens, tuple)
    text_of = {token_id: text for text, token_id in vocabulary.items()}
    for token_id, token in enumerate(tokens):
        assert isinstance(token, str)
        if text_of.get(token_id) not in _spellings(token):
            raise TokenizerUnsupported(
                f"token {token_id} of the GGUF file is {token!r}, and {text_of.get(token_id)!r} in the tokenizer that "
                "transformers builds from it: its ids are not the model's"
            )
    for name, key in _SPECIAL_TOKENS.items():
        if (expected := header.integer(key)) is not None and (found := getattr(tokenizer, name)) != expected:
            raise TokenizerUnsupported(
                f"{key} of the GGUF file is {expected}, and the tokenizer that transformers builds has {name} {found}"
            )


def _spellings(token: str) -> Collection[str]:
    """The texts under which transformers may know a token of the file: bytes in print, spaces as sentencepiece's."""
    in_print = "".join(STAND_IN_OF[byte] for byte in token.encode())
    return (token, in_print, "\u2581" * len(token)) if token.strip(" ") == "" else (token, in_print)


def unknown_pre_tokenizer(header: GgufHeader) -> str | None:
    """The file's way of splitting text before merges, where transformers would split as GPT-2 instead; else None."""
    name = header.text(_PRE_TOKENIZER)
    if header.text(_MODEL) != _BYTE_LEVEL or name in _SPLIT_AS_GPT2 or name in _known_to_transformers():
        return None
    return name or "none"


def _known_to_transformers() -> Collection[str]:
    """The names that this release of transformers splits by; none where it keeps them elsewhere."""
    try:
        module = import_module("transformers.integrations.gguf.gguf_tokenizer_mapping")
        return frozenset(module.GGUF_PRE_TOKENIZER_SPLITS)
    except (ImportError, AttributeError):
        return frozenset()
