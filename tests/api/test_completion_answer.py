"""What an answer costs to write."""

from __future__ import annotations

import threading

from server.answering.choice_text import TextToken
from server.answering.generation import PromptText
from server.api.answer_form import AnswerForm
from server.api.completion_answer import CompletionAnswer
from tests.fakes.tokenizers import byte_level


class Noting:
    """A tokenizer that notes whose text it was asked for, and where."""

    def __init__(self):
        self.asked = []
        self.threads = set()

    def __getattr__(self, name):
        return getattr(byte_level(), name)

    def token_text(self, token_id):
        self.asked.append(token_id)
        self.threads.add(threading.current_thread())
        return byte_level().token_text(token_id)


async def test_an_echo_is_written_once_for_all_choices_and_off_the_event_loop():
    tokenizer, prompt = Noting(), byte_level().encode("a film")
    form = AnswerForm("id", 0, "m", (prompt,), 3, (0,), with_logprobs=True, with_token_ids=False, with_usage=False)

    async def events():
        yield PromptText(0, 0, "a film", tuple(TextToken(token_id, 0, None) for token_id in prompt))

    chunks = [chunk async for chunk in CompletionAnswer(form, tokenizer).chunks(events())]
    assert [choice.index for chunk in chunks for choice in chunk.choices] == [0, 1, 2]
    assert tokenizer.asked == list(prompt)
    assert threading.current_thread() not in tokenizer.threads
