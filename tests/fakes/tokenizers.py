"""Small real tokenizers of the two families, made in memory."""

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
def byte_level(chat_template: str | None = None) -> Tokenizer:
    """Byte-level BPE as of GPT-2, without a begin token."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END, "<pad>"],
        show_progress=False,
    )
    backend.train_from_iterator(_TEXT, trainer)
    return Tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token="<pad>", chat_template=chat_template)
    )


@cache
def sentencepiece() -> Tokenizer:
    """A BPE with spaces as pieces, byte fallback and a begin token, as of Llama 2."""
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
    return Tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    )
