"""Prompts of the teacher: the instruction, then the input as the student reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile

from prompts_store.manifest import Manifest
from server.engine.client import EngineClient
from server.engine.errors import RequestRefused
from server.engine.request import Generate, Request, SamplingParams
from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.template import fill_template
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.encoding import EncodedExample, encode_prompt, prompt_text, rows_for
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.example_line import Example
from server.tuning.fit import Host
from server.tuning.plan import TuningPlan
from server.tuning.teaching import Distillation

_SHORTEST = Example("a", "", 1)
_QUESTION = Example("a " * 63 + "a", "", 1)
"""Longer than the questions that are written about a document, in most vocabularies."""


@dataclass(frozen=True)
class Teacher:
    """The base model with the instruction of a distillation. `manifest` is that of the version to make.

    In the base model's chat template the instruction is the system's message. Before a template of the version's own
    it stands as it is: whoever wants a line break between the two ends the instruction with one.
    """

    tokenizer: Tokenizer
    manifest: Manifest
    distillation: Distillation

    def prompt(self, example: Example) -> tuple[int, ...]:
        """Token ids of the instruction and an example's input. Raises `ExamplesRefused`."""
        text, add_special_tokens = self._text(example)
        before, ids = self._beginning if add_special_tokens is False else ("", ())
        if not text.startswith(before):
            before, ids = "", ()
        with rows_for(example):
            return ids + self.tokenizer.encode(text[len(before) :], add_special_tokens=add_special_tokens)

    def _text(self, example: Example) -> tuple[str, bool | None]:
        """The text of a prompt, and whether it is encoded with special tokens. Raises `ExamplesRefused`."""
        text, instruction = str(example.prompt), self.distillation.instruction
        if self.manifest.chat_template:
            messages = (ChatMessage("system", instruction), ChatMessage("user", text))
            return prompt_text(self.tokenizer, self.manifest, replace(example, prompt=messages))
        whole = replace(example, prompt=instruction + fill_template(self.manifest.template, text))
        return prompt_text(self.tokenizer, replace(self.manifest, template=None), whole)

    @cached_property
    def _beginning(self) -> tuple[str, tuple[int, ...]]:
        """What all prompts begin with, up to its last special token, and its token ids.

        A long instruction is so encoded once, and not with every input.
        """
        one, other = (self._text(Example(text, "", 1))[0] for text in ("a", "b"))
        num_shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
        before = one[: self.tokenizer.last_border(one[:num_shared])]
        return before, self.tokenizer.encode(before, add_special_tokens=False)

    def encode(self, example: Example, completion: Sequence[int]) -> EncodedExample:
        """An example of the student with its teacher's prompt. Raises `ExamplesRefused`."""
        prompt = encode_prompt(self.tokenizer, self.manifest, example)
        if not prompt:
            raise ExamplesRefused("has an input without a token", code="bad_line", line=example.line)
        return EncodedExample(prompt, tuple(completion), teacher=self.prompt(example))

    def readable_prompt(self, example: Example = _SHORTEST) -> tuple[int, ...]:
        """The prompt of an input that is readable itself. Raises `PlanRefused` if the instruction is not."""
        try:
            return self.prompt(example)
        except ExamplesRefused as error:
            reason = str(error.__cause__ or error)
            raise PlanRefused(f"cannot be read by the base model: {reason}", param=self.distillation.name) from error

    def check_instruction(self, max_context: int) -> None:
        """Raise `PlanRefused` for an instruction that the base model cannot read, or that leaves no room."""
        is_document = self.distillation.is_document
        shortest = "a question of usual length" if is_document else "the shortest input"
        num_tokens = len(self.readable_prompt(_QUESTION if is_document else _SHORTEST))
        room = max_context - self.distillation.max_answer_tokens
        if num_tokens > room:
            message = (
                f"takes {num_tokens} tokens with {shortest}, and there is room for {max(0, room)} beside an "
                f"answer of {self.distillation.max_answer_tokens} (max_answer_tokens) in the context of {max_context}"
            )
            raise PlanRefused(message, param=self.distillation.name)

    def check_text(self, host: Host, plan: TuningPlan) -> None:
        """Raise `PlanRefused` for a text that leaves no room in the context, and of a document in cache or memory."""
        self.check_instruction(host.base.max_context)
        if not self.distillation.is_document:
            return
        try:
            self.check_inputs(host, plan, [_QUESTION])
        except ExamplesRefused as error:
            raise PlanRefused(f"does not fit: {str(error).removeprefix('line 1: ')}", param="document") from error

    def check_inputs(self, host: Host, plan: TuningPlan, examples: Sequence[Example]) -> None:
        """Raise `ExamplesRefused` for an input that does not fit behind the instruction, or that no engine answers.

        Raises `PlanRefused` where a run of the plan exceeds the memory.
        """
        if not examples:
            return
        num_answer = self.distillation.max_answer_tokens
        encoded = [self.encode(example, [0] * num_answer) for example in examples]
        room = host.base.max_context - num_answer
        for example, one in zip(examples, encoded, strict=True):
            if (num_tokens := max(len(one.teacher), plan.num_virtual_tokens + len(one.prompt))) > room:
                message = f"has {num_tokens} tokens with its instruction, and there is room for {room} beside an answer"
                raise ExamplesRefused(f"{message} of {num_answer}", code="example_too_long", line=example.line)
        longest = max(encoded, key=lambda one: len(one.teacher))
        self._check_servable(host.engine, longest.teacher, examples[encoded.index(longest)].line)
        host.check_memory(plan, examples, encoded)

    def _check_servable(self, engine: EngineClient, prompt: tuple[int, ...], line: int) -> None:
        try:
            engine.check_servable(self.request(prompt))
        except RequestRefused as error:
            message = f"could never be answered here: {error}"
            raise ExamplesRefused(message, code="example_too_long", line=line) from error

    def request(self, prompt: tuple[int, ...], request_id: str = "") -> Request[Generate]:
        """The request of a greedy answer. It yields to the requests of clients."""
        sampling = SamplingParams(self.distillation.max_answer_tokens, temperature=0.0)
        return Request(request_id, "", prompt, Generate(sampling), is_batch=True)


def shared_beginning(examples: Sequence[EncodedExample]) -> tuple[int, ...]:
    """Token ids that all prompts of the teacher begin with. Each prompt has one token more at least."""
    prompts = [example.teacher for example in examples]
    shortest = min(map(len, prompts)) - 1
    equal = takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    return tuple(column[0] for column in equal)[:shortest]
