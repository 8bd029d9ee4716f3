"""What a client wrote becomes the prompt that the model sees."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server.api.errors import InvalidRequest
from server.api.inference.target import Target
from server.api.limits import ApiLimits
from server.api.wire.chat import ChatMessageBody
from server.api.wire.completions import Prompt
from server.tokenizer.chat import render_chat
from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.template import PromptForm, fill_template
from server.tokenizer.tokenizer import Tokenizer

_log = logging.getLogger(__name__)  # of prompts and nothing else: the operator decides whether it says anything
TokenIdTuple = tuple[int, ...]


async def encode_texts(
    tokenizer: Tokenizer, target: Target, texts: Sequence[str], *, add_special_tokens: bool | None = None
) -> tuple[TokenIdTuple, ...]:
    """Texts behind the target's template, as token ids.

    Special tokens are added as the argument says, or if it is None as the version does, or else as the tokenizer does.
    """
    if add_special_tokens is None:
        add_special_tokens = target.manifest.add_special_tokens
    filled = [fill_template(target.manifest.template, text) for text in texts]
    for text in filled:
        _log.info("prompt", extra={"task": target.task, "prompt": text})
    return await tokenizer.encode_all(filled, add_special_tokens=add_special_tokens)


def refuse_empty(texts: Sequence[str], param: str) -> None:
    """Raise `InvalidRequest` for a text without a character: a template alone would be answered with noise."""
    if "" in texts:
        raise InvalidRequest("the text is empty", param=param)


async def encode_prompts(
    tokenizer: Tokenizer, target: Target, prompt: Prompt, limits: ApiLimits
) -> tuple[TokenIdTuple, ...]:
    """Every prompt of a completion as token ids. Raises `InvalidRequest`, or `UnknownToken` for ids."""
    texts, id_lists = _split(prompt)
    if len(texts) + len(id_lists) > limits.max_prompts:
        raise InvalidRequest(f"there are at most {limits.max_prompts} prompts", param="prompt")
    if not texts and not id_lists:
        raise InvalidRequest("the prompt is empty", param="prompt")
    refuse_empty(texts, "prompt")
    for token_ids in id_lists:
        tokenizer.check_ids(token_ids)
        _log.info("prompt", extra={"task": target.task, "prompt_token_ids": token_ids})
    return (*await encode_texts(tokenizer, target, texts), *map(tuple, id_lists))


def form_of(prompt: Prompt) -> PromptForm:
    """What a completion's prompt is: texts, or ids already."""
    return PromptForm.TOKEN_IDS if _split(prompt)[1] else PromptForm.TEXT


async def encode_chat(
    tokenizer: Tokenizer, target: Target, messages: Sequence[ChatMessageBody], limits: ApiLimits
) -> TokenIdTuple:
    """A conversation as token ids: rendered first, then put into the target's template.

    Raises `InvalidRequest` or `ChatRefused`.
    """
    if len(messages) > limits.max_messages:
        raise InvalidRequest(f"there are at most {limits.max_messages} messages", param="messages")
    refuse_empty([message.text() for message in messages if message.role == "user"], "messages")
    turns = [ChatMessage(message.role, message.text()) for message in messages]
    text = await tokenizer.run(render_chat, tokenizer, turns)  # a template may take its time over a long conversation
    # A chat template writes the special tokens itself: without the version's word none are added to them.
    add_special_tokens = target.manifest.add_special_tokens
    if add_special_tokens is None and tokenizer.chat_template is not None:
        add_special_tokens = False
    (encoded,) = await encode_texts(tokenizer, target, [text], add_special_tokens=add_special_tokens)
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
