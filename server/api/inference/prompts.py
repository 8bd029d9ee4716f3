"""Conversion of texts and messages into the token ids of a prompt."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server.api.errors import InvalidRequest
from server.api.inference.served_model import ServedModel
from server.api.limits import ApiLimits
from server.api.wire.chat import ChatMessageBody
from server.api.wire.completions import Prompt
from server.tokenizer.chat import render_chat, render_input
from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.template import PromptForm, fill_template
from server.tokenizer.tokenizer import MarkedTokens, Tokenizer

_log = logging.getLogger(__name__)  # logs prompts only; `--log-prompts` turns it on
TokenIdTuple = tuple[int, ...]


async def encode_texts(
    tokenizer: Tokenizer, served: ServedModel, texts: Sequence[str], *, add_special_tokens: bool | None = None
) -> tuple[TokenIdTuple, ...]:
    """Texts in the served model's template, or in the base model's chat template if the version says so, as token ids.

    `add_special_tokens` None takes the version's setting, or else the tokenizer's default. A chat template writes the
    special tokens itself, so the default behind it is to add none. Raises `ChatRefused`.
    """
    if not served.manifest.chat_template:
        return await _encode(tokenizer, served, texts, add_special_tokens=add_special_tokens)
    rendered = await tokenizer.run(_render_all, tokenizer, texts)  # a chat template may be slow
    if add_special_tokens is None:
        add_special_tokens = served.manifest.add_special_tokens or False
    return await _encode(tokenizer, served, rendered, add_special_tokens=add_special_tokens)


def _render_all(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    return [render_input(tokenizer, text) for text in texts]


async def _encode(
    tokenizer: Tokenizer, served: ServedModel, texts: Sequence[str], *, add_special_tokens: bool | None
) -> tuple[TokenIdTuple, ...]:
    if add_special_tokens is None:
        add_special_tokens = served.manifest.add_special_tokens
    filled = [fill_template(served.manifest.template, text) for text in texts]
    for text in filled:
        _log.info("prompt", extra={"task": served.task, "prompt": text})
    return await tokenizer.encode_all(filled, add_special_tokens=add_special_tokens)


async def encode_marked(
    tokenizer: Tokenizer, served: ServedModel, texts: Sequence[tuple[str, str | None]]
) -> list[MarkedTokens]:
    """Texts or pairs of texts as they are, without a template, as token ids with their places."""
    add_special_tokens = served.manifest.add_special_tokens

    def encode_each() -> list[MarkedTokens]:
        return [tokenizer.encode_marked(*pair, add_special_tokens=add_special_tokens) for pair in texts]

    for text, pair in texts:
        _log.info("prompt", extra={"task": served.task, "prompt": text if pair is None else [text, pair]})
    return await tokenizer.run(encode_each)


def refuse_empty(texts: Sequence[str], param: str) -> None:
    """Raise `InvalidRequest` for an empty text: the answer to a bare template is noise."""
    if "" in texts:
        raise InvalidRequest("the text is empty: send at least one character", param=param)


async def encode_prompts(
    tokenizer: Tokenizer, served: ServedModel, prompt: Prompt, limits: ApiLimits
) -> tuple[TokenIdTuple, ...]:
    """Every prompt of a completion as token ids. Raises `InvalidRequest`, or `UnknownToken` for ids."""
    texts, id_lists = _split(prompt)
    if (num_prompts := len(texts) + len(id_lists)) > limits.max_prompts:
        message = f"there are {num_prompts} prompts; the maximum is {limits.max_prompts} (--max-prompts)"
        raise InvalidRequest(message, param="prompt")
    if not texts and not id_lists:
        raise InvalidRequest("the list of prompts is empty: send at least one prompt", param="prompt")
    return await _encode_split(tokenizer, served, texts, id_lists, "prompt")


async def encode_inputs(
    tokenizer: Tokenizer, served: ServedModel, inputs: Prompt, limits: ApiLimits
) -> tuple[TokenIdTuple, ...]:
    """Every input of an embedding as token ids. Raises `InvalidRequest`, or `UnknownToken` for ids."""
    texts, id_lists = _split(inputs)
    if not 0 < (num_inputs := len(texts) + len(id_lists)) <= limits.max_inputs:
        message = f"there are {num_inputs} inputs; allowed are 1 to {limits.max_inputs} (--max-inputs)"
        raise InvalidRequest(message, param="input")
    return await _encode_split(tokenizer, served, texts, id_lists, "input")


async def _encode_split(
    tokenizer: Tokenizer, served: ServedModel, texts: Sequence[str], id_lists: Sequence[Sequence[int]], param: str
) -> tuple[TokenIdTuple, ...]:
    refuse_empty(texts, param)
    for token_ids in id_lists:
        tokenizer.check_ids(token_ids)
        _log.info("prompt", extra={"task": served.task, "prompt_token_ids": token_ids})
    return (*await encode_texts(tokenizer, served, texts), *map(tuple, id_lists))


def form_of(prompt: Prompt) -> PromptForm:
    """The form of a completion's prompt: texts or token ids."""
    return PromptForm.TOKEN_IDS if _split(prompt)[1] else PromptForm.TEXT


async def encode_chat(
    tokenizer: Tokenizer, served: ServedModel, messages: Sequence[ChatMessageBody], limits: ApiLimits
) -> TokenIdTuple:
    """A conversation as token ids: rendered first, then put into the served model's template.

    Raises `InvalidRequest` or `ChatRefused`.
    """
    if len(messages) > limits.max_messages:
        message = f"there are {len(messages)} messages; the maximum is {limits.max_messages} (--max-messages)"
        raise InvalidRequest(message, param="messages")
    refuse_empty([message.text() for message in messages if message.role == "user"], "messages")
    turns = [ChatMessage(message.role, message.text()) for message in messages]
    text = await tokenizer.run(render_chat, tokenizer, turns)  # a chat template may be slow
    # A chat template writes the special tokens itself, so none are added unless the version says so.
    add_special_tokens = served.manifest.add_special_tokens
    if add_special_tokens is None and tokenizer.chat_template is not None:
        add_special_tokens = False
    (encoded,) = await _encode(tokenizer, served, [text], add_special_tokens=add_special_tokens)
    return encoded


def _split(prompt: Prompt) -> tuple[list[str], list[list[int]]]:
    """The four forms of a prompt as texts and lists of ids, of which one is empty."""
    if isinstance(prompt, str):
        return [prompt], []
    if not prompt:
        return [], []
    if isinstance(prompt[0], str):
        return prompt, []
    return [], [prompt] if isinstance(prompt[0], int) else prompt
