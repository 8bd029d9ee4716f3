"""The base model's own chat template: which form it reads, and whether it shows every message (decision 0019)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from server.tokenizer.chat import ChatMessage
from server.tokenizer.errors import ChatRefused

Roles = tuple[str, ...]

_MAX_KNOWN_SHAPES = 256
_PROBES: tuple[Roles, ...] = (("user",), ("system", "user"), ("user", "assistant", "user"))
_MARKER = re.compile(r"qzv(\d+)vzq")
_NO_JINJA = "the base model's chat template is no valid Jinja"
_NO_DEFAULT = "the base model has several chat templates, and none of them is named 'default'"
_ACCEPTS_NOTHING = "the base model's chat template accepts no message of the role 'user'"
_SHOWS_NOTHING = "the base model's chat template shows no message of the role 'user'"
_REFUSED = "the base model's chat template does not accept these messages"


class ChatTemplate:
    """Renders conversations, each of whose messages must be in the prompt.

    Building one renders a few conversations of marked text, to learn whether the template reads contents as texts or as
    lists of parts. `problem` is None, or a sentence on why the template is of no use.
    """

    def __init__(self, pretrained: PreTrainedTokenizerBase) -> None:
        self._pretrained = pretrained
        self._reads_parts = False
        self._shown_roles = lru_cache(_MAX_KNOWN_SHAPES)(self._find_shown_roles)
        self._reads_parts = False
        self.problem: str | None = None
        self.problem = self._learn_form()

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """The messages as the template writes them, ready for the model's turn.

        A role `developer` is sent as `system` where the template shows only that. Raises `ChatRefused` for messages
        that the template does not accept, and for one that it does not show.
        """
        roles = self._shown_roles(tuple(message.role for message in messages))
        return self._render(roles, [message.content for message in messages])

    def _learn_form(self) -> str | None:
        """Choose the form of content; the problem, if neither shows a user's message. Texts win where both do."""
        named = self._pretrained.chat_template
        if isinstance(named, dict) and "default" not in named:
            return _NO_DEFAULT
        problem: str | None = None
        for reads_parts, roles in itertools.product((False, True), _PROBES):
            self._reads_parts = reads_parts
            try:
                if self._first_lost(roles) is None:
                    return None
                problem = problem or _SHOWS_NOTHING
            except ChatRefused as refused:
                problem = problem or _problem_of(refused.__cause__)
        self._reads_parts = False
        return problem

    def _find_shown_roles(self, roles: Roles) -> Roles:
        """The roles with which the template shows every message. Raises `ChatRefused` where there are none.

        It depends on nothing but the roles in their order, so it is asked once for each such shape.
        """
        refusal: ChatRefused | None = None
        for sent in dict.fromkeys((roles, tuple("system" if role == "developer" else role for role in roles))):
            try:
                lost = self._first_lost(sent)
            except ChatRefused as refused:
                refusal = refusal or refused
            else:
                if lost is None:
                    return sent
                refusal = refusal or _lost_message(lost)
        assert refusal is not None
        raise refusal

    def _first_lost(self, roles: Roles) -> int | None:
        """The index of the first message of these roles that the template does not show. Raises `ChatRefused`."""
        rendered = self._render(roles, [f"qzv{index}vzq" for index in range(len(roles))])
        shown = {int(index) for index in _MARKER.findall(rendered.casefold())}
        return next((index for index in range(len(roles)) if index not in shown), None)

    def _render(self, roles: Roles, contents: Sequence[str]) -> str:
        messages: list[dict[str, Any]] = [
            {"role": role, "content": [{"type": "text", "text": content}] if self._reads_parts else content}
            for role, content in zip(roles, contents, strict=True)
        ]
        try:
            rendered = self._pretrained.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program of the base model's: it may raise anything
            raise ChatRefused(self.problem or _REFUSED) from error
        assert isinstance(rendered, str)
        return rendered


def _problem_of(error: BaseException | None) -> str:
    return f"{_NO_JINJA} (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else _ACCEPTS_NOTHING


def _lost_message(index: int) -> ChatRefused:
    where = f"messages[{index}]"
    said = f"the base model's chat template leaves {where} out of the prompt: leave it out, or change its role or place"
    return ChatRefused(said, param=where)
