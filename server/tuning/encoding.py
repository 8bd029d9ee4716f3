"""Token ids of an example: the input's, exactly as serving encodes it, then the answer's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from prompts_store.manifest import Manifest
from server.tokenizer.chat import render_chat
from server.tokenizer.errors import ChatRefused, UnknownToken
from server.tokenizer.template import fill_template
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.example_line import Example


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """Token ids of an input and its answer. `completion` ends with the end token. Virtual tokens are not included."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Positions of the text."""
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True)
class PreviewToken:
    """One token as the model sees it. The loss counts it if `is_learnt`."""

    token_id: int
    text: str
    is_learnt: bool


def encode_prompt(tokenizer: Tokenizer, manifest: Manifest, example: Example) -> tuple[int, ...]:
    """Encode an example's input as the routes encode it for a version with this manifest.

    A text is encoded as in `/v1/completions` and `/v1/classify`, messages as in `/v1/chat/completions`.
    Raises `ExamplesRefused` if the chat template refuses the messages, or if the embedding matrix lacks a token's row.
    """
    add_special_tokens = manifest.add_special_tokens
    if isinstance(example.prompt, str):
        text = example.prompt
    else:
        try:
            text = render_chat(tokenizer, example.prompt)
        except ChatRefused as error:
            raise ExamplesRefused(str(error), code="bad_line", line=example.line) from error
        if add_special_tokens is None and tokenizer.chat_template is not None:
            add_special_tokens = False  # a chat template writes the special tokens itself
    with _rows_for(example):
        return tokenizer.encode(fill_template(manifest.template, text), add_special_tokens=add_special_tokens)


def encode_completion(tokenizer: Tokenizer, completion: str, end_token_id: int) -> tuple[int, ...]:
    """Encode an answer: its own tokens, then the end token. Raises `UnknownToken`."""
    return (*tokenizer.encode(completion, add_special_tokens=False), end_token_id)


def encode_answer(tokenizer: Tokenizer, example: Example, end_token_id: int) -> tuple[int, ...]:
    """Encode an example's answer as `encode_completion` does. Raises `ExamplesRefused`."""
    with _rows_for(example):
        return encode_completion(tokenizer, example.completion, end_token_id)


def longest_answer(tokenizer: Tokenizer, examples: Iterable[Example]) -> int:
    """Number of tokens of the longest answer, its end token included. Raises `ExamplesRefused`."""
    return max(len(encode_answer(tokenizer, example, end_token_id=0)) for example in examples)


def encode_examples(
    tokenizer: Tokenizer,
    manifest: Manifest,
    examples: Sequence[Example],
    *,
    end_token_id: int,
    max_tokens: int,
) -> tuple[EncodedExample, ...]:
    """Encode every example. `max_tokens` is the context without the virtual tokens.

    Raises `ExamplesRefused` for the first example that is longer, has an input without a token, or has a token without
    a row in the embeddings.
    """
    encoded = []
    for example in examples:
        one = EncodedExample(
            encode_prompt(tokenizer, manifest, example), encode_answer(tokenizer, example, end_token_id)
        )
        if not one.prompt:
            raise ExamplesRefused("has an input without a token", code="bad_line", line=example.line)
        if one.num_tokens > max_tokens:
            message = f"has {one.num_tokens} tokens, and there is room for {max_tokens} beside the virtual tokens"
            raise ExamplesRefused(message, code="example_too_long", line=example.line)
        encoded.append(one)
    return tuple(encoded)


def init_text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a text to initialise from. Raises `PlanRefused` if there are none, or if one has no row."""
    try:
        ids = tokenizer.encode(text, add_special_tokens=False)
    except UnknownToken as error:
        raise PlanRefused(f"cannot be begun with: {error}", param="init_text") from error
    if not ids:
        raise PlanRefused("has no tokens", param="init_text")
    return list(ids)


def preview(tokenizer: Tokenizer, encoded: EncodedExample) -> tuple[PreviewToken, ...]:
    """An example token by token, for a person to check before a run."""
    learnt = (*((token, False) for token in encoded.prompt), *((token, True) for token in encoded.completion))
    return tuple(PreviewToken(token, tokenizer.token_text(token), is_learnt) for token, is_learnt in learnt)


@contextmanager
def _rows_for(example: Example) -> Iterator[None]:
    """Report a token without a row in the embedding matrix as an error of the example's line."""
    try:
        yield
    except UnknownToken as error:
        raise ExamplesRefused(str(error), code="token_out_of_range", line=example.line) from error
