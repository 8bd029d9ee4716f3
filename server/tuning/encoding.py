"""Token ids of an example: the input's, exactly as serving encodes it, and the answer's, or the index of its label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from prompts_store.manifest import Manifest
from server.tokenizer.chat import render_chat, render_input
from server.tokenizer.errors import ChatRefused, UnknownToken
from server.tokenizer.template import fill_template
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.example_line import Example


class AnswerForm(StrEnum):
    """How a model answers: with tokens behind the input, with tokens of a decoder beside it, or with a label."""

    CONTINUATION = "continuation"
    DECODED = "decoded"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """Token ids of an input and its answer. `completion` ends with the end token. Virtual tokens are not included.

    Where a head answers, `label` is the index of the answer among the labels, and `completion` is empty. In a
    distillation, `teacher` is the prompt of the teacher, which the instruction is part of.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    label: int | None = None
    teacher: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Positions of the text."""
        return len(self.prompt) + len(self.completion)

    @property
    def num_targets(self) -> int:
        """Number of answers that the loss counts: the tokens of the completion, or one label."""
        return len(self.completion) if self.label is None else 1


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
    text, add_special_tokens = prompt_text(tokenizer, manifest, example)
    with rows_for(example):
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)


def prompt_text(tokenizer: Tokenizer, manifest: Manifest, example: Example) -> tuple[str, bool | None]:
    """The text that `encode_prompt` encodes, and whether with special tokens. Raises `ExamplesRefused`."""
    add_special_tokens = manifest.add_special_tokens
    try:
        text = _text_of(tokenizer, manifest, example)
    except ChatRefused as error:
        raise ExamplesRefused(str(error), code="bad_line", line=example.line) from error
    is_chat = manifest.chat_template or not isinstance(example.prompt, str)
    if add_special_tokens is None and is_chat and tokenizer.chat_template is not None:
        add_special_tokens = False  # a chat template writes the special tokens itself
    return fill_template(manifest.template, text), add_special_tokens


def encode_completion(tokenizer: Tokenizer, completion: str, end_token_id: int) -> tuple[int, ...]:
    """Encode an answer: its own tokens, then the end token. Raises `UnknownToken`."""
    return (*tokenizer.encode(completion, add_special_tokens=False), end_token_id)


def encode_answer(tokenizer: Tokenizer, example: Example, end_token_id: int) -> tuple[int, ...]:
    """Encode an example's answer as `encode_completion` does. Raises `ExamplesRefused`."""
    with rows_for(example):
        return encode_completion(tokenizer, example.completion, end_token_id)


def longest_answer(tokenizer: Tokenizer, examples: Iterable[Example]) -> int:
    """Number of tokens of the longest answer, its end token included; 0 without examples. Raises `ExamplesRefused`."""
    return max((len(encode_answer(tokenizer, example, end_token_id=0)) for example in examples), default=0)


def encode_examples(
    tokenizer: Tokenizer,
    manifest: Manifest,
    examples: Sequence[Example],
    *,
    end_token_id: int | None,
    max_tokens: int,
    form: AnswerForm = AnswerForm.CONTINUATION,
    labels: Sequence[str] = (),
) -> tuple[EncodedExample, ...]:
    """Encode every example. `max_tokens` is the context without the virtual tokens.

    Raises `ExamplesRefused` for the first example that is longer, has an input without a token, or has a token without
    a row in the embeddings. With the form LABEL, every answer is one of `labels`; another one is refused.
    """
    encoded = []
    for example in examples:
        prompt = encode_prompt(tokenizer, manifest, example)
        if form is AnswerForm.LABEL:
            one = EncodedExample(prompt, (), _label_index(labels, example))
        else:
            assert end_token_id is not None
            one = EncodedExample(prompt, encode_answer(tokenizer, example, end_token_id))
        if not prompt:
            raise ExamplesRefused("has an input without a token", code="bad_line", line=example.line)
        _check_length(one, max_tokens, form, example.line)
        encoded.append(one)
    return tuple(encoded)


def _label_index(labels: Sequence[str], example: Example) -> int:
    if example.completion not in labels:
        raise ExamplesRefused("the answer is none of the job's labels", code="unknown_label", line=example.line)
    return labels.index(example.completion)


def _check_length(one: EncodedExample, max_tokens: int, form: AnswerForm, line: int) -> None:
    """Raise `ExamplesRefused` for an example that is too long. A decoder has positions of its own."""
    num_tokens = max(len(one.prompt), len(one.completion)) if form is AnswerForm.DECODED else one.num_tokens
    if num_tokens > max_tokens:
        message = f"has {num_tokens} tokens, and there is room for {max_tokens} beside the virtual tokens"
        raise ExamplesRefused(message, code="example_too_long", line=line)


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


def _text_of(tokenizer: Tokenizer, manifest: Manifest, example: Example) -> str:
    """An example's input before it is put into the version's own template."""
    if not isinstance(example.prompt, str):
        return render_chat(tokenizer, example.prompt)
    return render_input(tokenizer, example.prompt) if manifest.chat_template else example.prompt


@contextmanager
def rows_for(example: Example) -> Iterator[None]:
    """Report a token without a row in the embedding matrix as an error of the example's line."""
    try:
        yield
    except UnknownToken as error:
        raise ExamplesRefused(str(error), code="token_out_of_range", line=example.line) from error
