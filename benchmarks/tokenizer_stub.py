"""A tokenizer for random weights: as many entries as the model has, so that a server can write any answer down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def save_tokenizer(folder: Path, vocab_size: int) -> None:
    """Write a byte-level tokenizer: the 256 bytes, then made-up words that no text is ever split into."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [f"\u0120w{number}" for number in range(vocab_size - len(alphabet))]
    vocabulary = {token: number for number, token in enumerate([*alphabet, *words])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrap: Callable[..., Any] = PreTrainedTokenizerFast
    wrap(tokenizer_object=tokenizer).save_pretrained(str(folder))
