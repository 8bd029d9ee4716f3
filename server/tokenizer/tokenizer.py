"""The base model's tokenizer, reduced to the server's needs."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import tokenizers
from tokenizers.decoders import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from server.model.foreign import reason
from server.model.gguf.base_file import is_gguf, read_base_file, transformers_source
from server.model.gguf.header import GgufHeader
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.errors import TokenizerUnsupported, UnknownToken
from server.tokenizer.gguf_vocabulary import check_vocabulary, unknown_pre_tokenizer
from server.tokenizer.token_bytes import TokenBytes

logger = logging.getLogger(__name__)

_MAX_INLINE_CHARACTERS = 2_048
"""Longer texts are tokenized in a thread: they would block the event loop for more than about a millisecond."""

_NUM_THREADS = 2

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class MarkedTokens:
    """The tokens of a text or of a pair of texts, each with its place.

    `offsets` are begin and end in characters of its own text, `texts` 0 or 1, None for a special token.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    texts: tuple[int | None, ...]


class Tokenizer:
    """Text to token ids and back.

    Uses the Rust tokenizer underneath, with truncation and padding switched off once. transformers itself sets both
    on each call, which is not thread-safe.

    `num_rows` counts the rows of the base model's token embeddings; None without a model. A tokenizer may have tokens
    beyond them: ids from `num_ids` on have no row, and `encode` refuses a text with such an id.
    """

    def __init__(self, pretrained: PreTrainedTokenizerBase, *, num_rows: int | None = None) -> None:
        backend = getattr(pretrained, "backend_tokenizer", None)
        if not isinstance(backend, tokenizers.Tokenizer):
            raise TokenizerUnsupported("the base model has no fast tokenizer (tokenizer.json)")
        backend.no_truncation()
        backend.no_padding()
        self._pretrained = pretrained
        self._backend = backend
        self._token_bytes = TokenBytes(backend)
        self._lone_texts: dict[int, str | None] = {}
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="tokenizer")
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        self._num_rows = sys.maxsize if num_rows is None else num_rows
        most_ids = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        self.num_ids = min(most_ids, self._num_rows)
        self._has_every_row = self.num_ids == most_ids
        self._kept_space = self._space_that_stays()
        self._joins_bytes = isinstance(backend.decoder, ByteLevel) and not self._kept_space
        special = {number: token for number, token in backend.get_added_tokens_decoder().items() if token.special}
        self.special_token_ids: frozenset[int] = frozenset(special)
        self._borders = tuple(
            token.content for token in special.values() if not (token.normalized or token.lstrip or token.single_word)
        )

    @classmethod
    def load(cls, source: str | Path, *, revision: str | None = None, num_rows: int | None = None) -> Tokenizer:
        """Load from a local folder, a GGUF file or a hub id; code that a repository brings along is never run.

        Raises `TokenizerUnsupported` where there is none, none that is fast, or one with other ids than the file's,
        and `BaseModelUnavailable` for a GGUF file that cannot be used.
        """
        header = read_base_file(str(source)) if is_gguf(str(source)) else None
        try:
            with transformers_source(str(source)) as (place, gguf):
                pretrained = AutoTokenizer.from_pretrained(
                    place, **gguf, revision=revision or "main", trust_remote_code=False, use_fast=True
                )
            tokenizer = cls(pretrained, num_rows=num_rows)
            if header is not None:
                tokenizer._check_against(header)
            return tokenizer
        except TokenizerUnsupported:
            raise
        except Exception as error:  # a tokenizer's files may raise anything, the Rust library bare exceptions
            raise TokenizerUnsupported(f"no tokenizer can be loaded from {source}: {reason(error)}") from error

    def _check_against(self, header: GgufHeader) -> None:
        check_vocabulary(self._pretrained, self.id_mapping, header)
        if (name := unknown_pre_tokenizer(header)) is not None:
            logger.warning(
                "the GGUF file splits text by the pre-tokenizer %r, which transformers does not know: it splits as "
                "GPT-2 does, so some texts, most of all numbers, may become other tokens than in training",
                name,
            )

    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> tuple[int, ...]:
        """Token ids of a text. `add_special_tokens` None is the tokenizer's default, which is to add them.

        Raises `UnknownToken` where the base model has no row for one of them.
        """
        # One text as a batch: `encode` holds the interpreter lock for seconds on a long text, this does not.
        (encoded,) = self._backend.encode_batch_fast([text], add_special_tokens=add_special_tokens is not False)
        return self._with_rows(encoded.ids)

    def encode_marked(
        self, text: str, pair: str | None = None, *, add_special_tokens: bool | None = None
    ) -> MarkedTokens:
        """`encode` of a text, or of a pair of texts as one, with the place of each token. Raises `UnknownToken`."""
        (encoded,) = self._backend.encode_batch(
            [text if pair is None else (text, pair)], add_special_tokens=add_special_tokens is not False
        )
        ids = self._with_rows(encoded.ids)
        return MarkedTokens(ids, tuple(encoded.offsets), tuple(encoded.sequence_ids))

    def _with_rows(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        ids = tuple(token_ids)
        if not self._has_every_row and (highest := max(ids, default=0)) >= self.num_ids:
            raise UnknownToken(
                f"the text holds token id {highest}, and the base model has rows for ids 0 to {self.num_ids - 1}: "
                "leave that token out"
            )
        return ids

    async def encode_all(
        self, texts: Sequence[str], *, add_special_tokens: bool | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """`encode` for several texts, off the event loop when they are long."""

        def encode_each() -> tuple[tuple[int, ...], ...]:
            return tuple(self.encode(text, add_special_tokens=add_special_tokens) for text in texts)

        return encode_each() if sum(map(len, texts)) <= _MAX_INLINE_CHARACTERS else await self.run(encode_each)

    async def run(self, work: Callable[_P, _Result], *args: _P.args, **kwargs: _P.kwargs) -> _Result:
        """Do work on long texts in a thread of our own: the shared ones may all be waiting for a database."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of token ids, exactly as the decoder makes it (nothing is cleaned up).

        A space that encoding puts before every text is no part of it, whether or not the decoder drops it.
        """
        return self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens).removeprefix(
            self._kept_space
        )

    def lone_text(self, token_id: int) -> str | None:
        """The text of a token wherever it stands between whole characters; None if its neighbours change it.

        A byte-level decoder joins the bytes of tokens, so a token of whole characters has always the same text.
        """
        if token_id not in self._lone_texts:
            text = self.decode([token_id]) if self._joins_bytes else ""
            self._lone_texts[token_id] = text if text and "\ufffd" not in text else None
        return self._lone_texts[token_id]

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one token stands for."""
        return self._token_bytes.of(token_id)

    def token_text(self, token_id: int) -> str:
        """One token as text; bytes that are no whole character become U+FFFD."""
        return self.token_bytes(token_id).decode("utf-8", errors="replace")

    def last_border(self, text: str) -> int:
        """Index at which the last special token of a text begins; 0 without one.

        What is before a special token is encoded by itself, and so is what begins with it. Tokens that take white space
        or letters before them into account are no borders.
        """
        return max([0, *map(text.rfind, self._borders)])

    def check_ids(self, token_ids: Sequence[int]) -> None:
        """Raise `UnknownToken` when an id is outside the vocabulary, or the base model has no row for it."""
        for token_id in token_ids:
            if not 0 <= token_id < self.num_ids:
                raise UnknownToken(f"token id {token_id} is none: token ids are from 0 to {self.num_ids - 1}")

    def eos_token_ids(self, generation_config: Collection[int] = ()) -> frozenset[int]:
        """The tokenizer's end token together with those of the model's generation configuration: of both, only what
        the model can write."""
        own = self.eos_token_id
        ends = frozenset(generation_config) | (frozenset() if own is None else {own})
        return frozenset(token_id for token_id in ends if 0 <= token_id < self._num_rows)

    @property
    def eos_token_id(self) -> int | None:
        """The tokenizer's own end token, if it has one that the base model has a row for."""
        token_id = self._pretrained.eos_token_id
        return token_id if isinstance(token_id, int) and token_id < self.num_ids else None

    @property
    def cls_token_id(self) -> int | None:
        """The token that stands for a whole text, if the tokenizer has one."""
        token_id = self._pretrained.cls_token_id
        return token_id if isinstance(token_id, int) else None

    @property
    def question_is_first(self) -> bool:
        """Whether a question comes before its text in a pair, as transformers' pipeline decides it."""
        return self._pretrained.padding_side == "right"

    @property
    def num_ids_without_row(self) -> int:
        """Tokens that the base model cannot see: their ids are beyond its embeddings."""
        if self._has_every_row:
            return 0
        return sum(token_id >= self.num_ids for token_id in self.id_mapping.values())

    @property
    def id_mapping(self) -> Mapping[str, int]:
        """Every token and its id, added tokens included: the fingerprint covers it."""
        return self._backend.get_vocab(with_added_tokens=True)

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The chat template that the tokenizer brings, if it brings one."""
        return ChatTemplate(self._pretrained) if self._pretrained.chat_template else None

    def _space_that_stays(self) -> str:
        """The space that encoding puts before a text where decoding leaves it there, else nothing."""
        ids = self._backend.encode("a", add_special_tokens=False).ids
        return " " if self._backend.decode(ids) == " a" else ""
