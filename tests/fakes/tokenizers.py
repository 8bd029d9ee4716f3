"""Small real tokenizers of each family, made in memory."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from server.tokenizer.tokenizer import Tokenizer

END = "<end>"
_TEXT = [
    "the quick brown fox jumps over the lazy dog",
    "What a wonderful little film. -> positive",
    "The soup was cold and the waiter rude. -> negative",
    "Größe, déjà vu, 你好世界, 😀😃",
]


@cache
def byte_level(
    chat_template: str | None = None, *, add_prefix_space: bool = False, num_rows: int | None = None
) -> Tokenizer:
    """Byte-level BPE as of GPT-2, without a begin token; with `add_prefix_space` " a" is what "a" is encoded as."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END, "<pad>"],
        show_progress=False,
    )
    backend.train_from_iterator(_TEXT, trainer)
    return Tokenizer(
        PreTrainedTokenizerFast(
            tokenizer_object=backend, eos_token=END, pad_token="<pad>", chat_template=chat_template
        ),
        num_rows=num_rows,
    )


@cache
def sentencepiece(*, lacks_rows: bool = False) -> Tokenizer:
    """A BPE with spaces as pieces, byte fallback and a begin token, as of Llama 2.

    With `lacks_rows` the base model has no row for the tokens that were added last: `[PAD]`, as after Llama 2's own
    recipe, and a hundred ordinary ones.
    """
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["\u2581", *"abcdefghijklmnopqrstuvwxyz.,!", "\u2581t", "he", "\u2581the", "\u2581a", "in", "on"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    merges = [("\u2581", "t"), ("h", "e"), ("\u2581t", "he"), ("\u2581", "a"), ("i", "n"), ("o", "n")]
    backend = Backend(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    num_rows = len(vocab) if lacks_rows else None
    if lacks_rows:
        backend.add_special_tokens(["[PAD]"])
        backend.add_tokens([f"<new{number}>" for number in range(100)])
    return Tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
        num_rows=num_rows,
    )


@cache
def metaspace(prepend_scheme: str) -> Tokenizer:
    """A BPE whose spaces are the pre-tokenizer's matter, as of Mistral: "always", "first" or "never" before a text."""
    pieces = [
        "<unk>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "\u2581",
        *"abcdefghijklmnopqrstuvwxyz.,!0123",
    ]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    backend = Backend(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=prepend_scheme), decoders.Fuse()]
    )
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>"))


@cache
def wordpiece() -> Tokenizer:
    """Whole words and ends of words in lower case, as of BERT: the decoder puts a space before each but the first."""
    words = ["positive", "neg", "##ative", "yes", "no", "well", "known", "-", ".", "->", ">", "{", "}"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["[UNK]", "[CLS]", "[SEP]", *words, *letters, *(f"##{letter}" for letter in letters)]
    backend = Backend(models.WordPiece(vocab={piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", pieces.index("[CLS]"))]
    )
    return Tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, cls_token="[CLS]", eos_token="[SEP]", unk_token="[UNK]")
    )


FAMILIES = {
    "byte_level": byte_level(),
    "byte_level_with_prefix_space": byte_level(add_prefix_space=True),
    "sentencepiece": sentencepiece(),
    "metaspace_always": metaspace("always"),
    "metaspace_first": metaspace("first"),
    "metaspace_never": metaspace("never"),
    "wordpiece": wordpiece(),
}
"""One tokenizer of each kind there is of spaces before a text."""
