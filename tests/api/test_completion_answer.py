"""What an answer costs to write."""

from __future__ import annotations

import json
import threading
from typing import ClassVar

from server.answering.choice_text import TextToken
from server.answering.generation import PromptText
from server.api.inference.answer_form import AnswerForm
from server.api.inference.completion_answer import CompletionAnswer
from tests.fakes.tokenizers import byte_level


class Noted(bytes):
    """A token's bytes that note where they were written."""

    threads: ClassVar[list[threading.Thread]] = []

    def decode(self, *args, **more):
        self.threads.append(threading.current_thread())
        return super().decode(*args, **more)


async def test_an_echo_is_written_once_for_all_choices_and_off_the_event_loop():
    prompt = byte_level().encode("a film")
    form = AnswerForm(
        "id", 0, "m", (prompt,), 3, (0,),
        with_logprobs=True, with_token_ids=False, with_usage=False, with_usage_so_far=False,
    )  # fmt: skip

    async def events():
        yield PromptText(0, 0, "a film", tuple(TextToken(token_id, 0, None, Noted(b"a")) for token_id in prompt))

    chunks = [json.loads(chunk) async for chunk in CompletionAnswer(form, byte_level()).chunks(events())]
    assert [choice["index"] for chunk in chunks for choice in chunk["choices"]] == [0, 1, 2]
    assert len(Noted.threads) == len(prompt)
    assert threading.current_thread() not in Noted.threads
