"""Questions about a document that the base model writes itself: the inputs of a distillation that has none."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from prompts_store.manifest import Manifest
from server.engine.client import RequestRunner
from server.engine.request import Generate, Request, SamplingParams
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.answers import text_of
from server.tuning.distillation.document import ask_about, message_of
from server.tuning.encoding import encode_prompt
from server.tuning.errors import PlanRefused
from server.tuning.example_line import Example

MAX_QUESTION_TOKENS = 32
"""Maximum number of tokens behind the opening of a question. A longer one is dropped."""

MAX_DOCUMENT_BYTES = 1 << 20

_TEMPERATURE, _TOP_P = 0.7, 0.95
_NUM_SEEDS = 1 << 31


@dataclass(frozen=True, slots=True)
class QuestionWriter:
    """The base model as the author of messages about the chunks of a document, one after another.

    Draft `number` is sampled with a seed of its own: it is the same each time, on the same kind of CPU.
    """

    tokenizer: Tokenizer
    manifest: Manifest
    chunks: tuple[str, ...]
    seed: int = 0

    async def draft(self, engine: RequestRunner, number: int) -> str:
        """A message about a chunk; empty if it is cut off or of no use. Raises `EngineError` and `ExamplesRefused`."""
        ask = ask_about(self.chunks, number)
        form = Manifest(chat_template=self.manifest.chat_template, add_special_tokens=self.manifest.add_special_tokens)
        text = ask.text if self.manifest.chat_template else f"{ask.text}\n"
        before = encode_prompt(self.tokenizer, form, Example(text, "", number))
        opening = self.tokenizer.encode(ask.opening, add_special_tokens=False)
        seed = (self.seed * 1_000_003 + number) % _NUM_SEEDS
        sampling = SamplingParams(MAX_QUESTION_TOKENS, temperature=_TEMPERATURE, top_p=_TOP_P, seed=seed)
        request = Request(f"question-{uuid.uuid4().hex}", "", before + opening, Generate(sampling), is_batch=True)
        written = await text_of(engine, self.tokenizer, request, ("\n", "?"), is_continued=True)
        return "" if written.is_cut else message_of(ask, written.text)


def read_document(content: bytes) -> str:
    """The text of a document's file. Raises `PlanRefused` if it is too large, or not UTF-8."""
    if len(content) > MAX_DOCUMENT_BYTES:
        raise PlanRefused(f"has {len(content)} bytes, and at most {MAX_DOCUMENT_BYTES} are read", param="document")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanRefused("is not UTF-8", param="document") from error
