"""Conversion of texts and messages into the token ids of a prompt."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server.api.errors import InvalidRequest
from server.api.inference.served_model import ServedModel
from server.api.limits import ApiLimits
from server.api.wire.chat import ChatMessageBody
from server.api.wire.completions import Prompt
from server.tokenizer.chat import render_chat
from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.template import PromptForm, fill_template
from server.tokenizer.tokenizer import Tokenizer

_log = logging.getLogger(__name__)  # logs prompts only; `--log-prompts` turns it on
TokenIdTuple = tuple[int, ...]


async def encode_texts(
    tokenizer: Tokenizer, served: ServedModel, texts: Sequence[str], *, add_special_tokens: bool | None = None
) -> tuple[TokenIdTuple, ...]:
    """Texts in the served model's template, as token ids.

    `add_special_tokens` None takes the version's setting, or else the tokenizer's default.
    """
    if add_special_tokens is None:
        add_special_tokens = served.manifest.add_special_tokens
    filled = [fill_template(served.manifest.template, text) for text in texts]
    for text in filled:
        _log.info("prompt", extra={"task": served.task, "prompt": text})
    return await tokenizer.encode_all(filled, add_special_tokens=add_special_tokens)


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
    refuse_empty(texts, "prompt")
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
    (encoded,) = await encode_texts(tokenizer, served, [text], add_special_tokens=add_special_tokens)
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
