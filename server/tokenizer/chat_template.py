"""The base model's own chat template: its form, and the check that it shows every message (decision 0019)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.errors import ChatRefused

Roles = tuple[str, ...]

_MAX_KNOWN_SHAPES = 256
_PROBES: tuple[Roles, ...] = (("user",), ("system", "user"), ("user", "assistant", "user"))
_ALL = frozenset({"system", "developer", "user", "assistant"})
_AS_PARTS = (frozenset[str](), _ALL, _ALL - {"system"}, frozenset({"system"}))
"""Roles whose contents a template may want as lists of parts, the likeliest first; some mix the two forms."""
_MARKER = re.compile(r"(?<!text['\"]: ['\"])qzv(\d+)vzq")
"""Behind `'text': '` it is a list of parts printed as it is, by a template that wants a text."""
_NO_JINJA = "the base model's chat template is no valid Jinja"
_NO_DEFAULT = "the base model has several chat templates, and none of them is named 'default'"
_ACCEPTS_NOTHING = "the base model's chat template accepts no message of the role 'user'"
_SHOWS_NOTHING = "the base model's chat template shows no message of the role 'user'"
_REFUSED = "the base model's chat template does not accept these messages"


@dataclass(frozen=True, slots=True)
class _Sending:
    """A form in which the template shows every message: the role of each, and the roles sent as parts."""

    roles: Roles
    as_parts: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The reason to refuse messages. `lost` is the first that the template does not show; None if it raised."""

    cause: Exception | None
    lost: int | None = None


class ChatTemplate:
    """Renders conversations, each of whose messages must be in the prompt.

    Building one renders a few conversations of marked text. `problem` is None, or a sentence on why the template is of
    no use.
    """

    def __init__(self, pretrained: PreTrainedTokenizerBase) -> None:
        self._pretrained = pretrained
        self._sending = lru_cache(_MAX_KNOWN_SHAPES)(self._find_sending)
        self.problem = self._find_problem()

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """The messages as the template writes them, ready for the model's turn.

        A role `developer` is sent as `system` where the template shows only that. Raises `ChatRefused` for messages
        that the template does not accept, and for one that it does not show.
        """
        sending = self._sending(tuple(message.role for message in messages))
        if isinstance(sending, _Refusal):
            raise self._refused(sending) from sending.cause
        try:
            return self._render(sending, [message.content for message in messages])
        except Exception as error:  # a template is a program of the base model's: it may raise anything
            raise self._refused(_Refusal(error)) from error

    @property
    def takes_an_input(self) -> bool:
        """Whether a user's message alone is accepted and shown."""
        return not isinstance(self._sending(("user",)), _Refusal)

    def _find_problem(self) -> str | None:
        named = self._pretrained.chat_template
        if isinstance(named, dict) and "default" not in named:
            return _NO_DEFAULT
        found = [self._sending(roles) for roles in _PROBES]
        refusals = [one for one in found if isinstance(one, _Refusal)]
        if len(refusals) < len(found):
            return None
        if isinstance(error := refusals[0].cause, TemplateSyntaxError):
            return f"{_NO_JINJA} (line {error.lineno})"
        return _ACCEPTS_NOTHING if refusals[0].lost is None else _SHOWS_NOTHING

    def _find_sending(self, roles: Roles) -> _Sending | _Refusal:
        """The form in which messages of these roles are all shown, or the refusal with the latest lost message.

        It depends only on the roles in their order, so it is cached per such shape.
        """
        renamed = tuple("system" if role == "developer" else role for role in roles)
        refusals = []
        for sent_roles, as_parts in itertools.product(dict.fromkeys((roles, renamed)), _AS_PARTS):
            sending = _Sending(sent_roles, as_parts)
            try:
                lost = self._first_lost(sending)
            except Exception as error:  # as in `render`
                refusals.append(_Refusal(error.with_traceback(None)))
            else:
                if lost is None:
                    return sending
                refusals.append(_Refusal(None, lost))
        return max(refusals, key=lambda refusal: -1 if refusal.lost is None else refusal.lost)

    def _first_lost(self, sending: _Sending) -> int | None:
        """The index of the first message that the template does not show. Raises what the template raises."""
        rendered = self._render(sending, [f"qzv{index}vzq" for index in range(len(sending.roles))])
        shown = {int(index) for index in _MARKER.findall(rendered.casefold())}
        return next((index for index in range(len(sending.roles)) if index not in shown), None)

    def _render(self, sending: _Sending, contents: Sequence[str]) -> str:
        messages: list[dict[str, Any]] = [
            {"role": role, "content": [{"type": "text", "text": content}] if role in sending.as_parts else content}
            for role, content in zip(sending.roles, contents, strict=True)
        ]
        rendered = self._pretrained.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert isinstance(rendered, str)
        return rendered

    def _refused(self, refusal: _Refusal) -> ChatRefused:
        if refusal.lost is None:
            return ChatRefused(self.problem or _REFUSED)
        where = f"messages[{refusal.lost}]"
        said = f"the base model's chat template leaves {where} out of the prompt"
        return ChatRefused(f"{said}: do not send it, or change its role or place", param=where)
