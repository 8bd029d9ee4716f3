"""How near a distilled prompt comes to its teacher on a real model, and what it saves. `make distil-real` runs it.

    python -m benchmarks.distillation --steps 48 --only labels

Three students of 32 virtual tokens: of a prompt with eight labelled reviews of films (`labels`), of the same prompt
with inputs that the base model writes itself (`study`), and of a prompt with eight short answers (`texts`). Each is
judged on reviews that were held out. The yardstick is the teacher itself with its eight examples in other orders.
Seconds are processor seconds of this process, of one answer alone each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.distilled_prompts import LABELS, TEXTS, FewShots
from benchmarks.folders import REAL_MODEL
from server.app import Workbench
from server.cli.tuning.workbench import WorkbenchOptions, open_local_workbench
from server.engine.request import Generate, Request
from server.model.prefix import Prefix
from server.tuning.candidate import unpublished
from server.tuning.distillation.answers import text_of, with_answers, write_answers
from server.tuning.distillation.inputs import read_inputs
from server.tuning.distillation.plan import plan_distillation, version_defaults
from server.tuning.distillation.self_study import InputWriter, write_inputs
from server.tuning.distillation.teacher import Teacher
from server.tuning.encoding import encode_prompt
from server.tuning.events import Validated
from server.tuning.example_line import Example
from server.tuning.job import TuningJob, TuningResult
from server.tuning.judgement import read_result
from server.tuning.plan import TuningPlan
from server.tuning.run import TuningRun
from server.tuning.split import Split, tuning_data
from server.tuning.teaching import Answer, Distillation

ORDERS = ((3, 6, 1, 4, 7, 0, 5, 2), (5, 2, 7, 0, 3, 6, 1, 4), (7, 6, 5, 4, 3, 2, 1, 0))
_NUM_TIMED = 12


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is trained and judged."""

    num_inputs: int
    num_held_out: int
    num_steps: int | None


class Bench:
    """One prompt of a teacher on an open workbench, with the teacher's answers so far."""

    def __init__(self, bench: Workbench, shots: FewShots, sizes: Sizes) -> None:
        self.bench, self.shots, self.sizes = bench, shots, sizes
        self.teacher = self.teacher_in(range(8))
        self.held_out = _texts("test")[: sizes.num_held_out]
        self.answers = self._ask(self.teacher, self.held_out)

    def teacher_in(self, order: Sequence[int]) -> Teacher:
        """The teacher with its examples in this order."""
        instruction = Distillation(self.shots.instruction(order), self.shots.max_answer_tokens)
        return Teacher(self.bench.tokenizer, self.shots.manifest, instruction)

    def reordered(self) -> list[float]:
        """The shares of equal answers of the teacher with its examples in other orders."""
        return [self._share_equal(self._ask(self.teacher_in(order), self.held_out)) for order in ORDERS]

    def student(self, inputs: Sequence[str]) -> TuningResult:
        """A distilled prompt, by the defaults of a distillation."""
        answers = self.answers | self._ask(self.teacher, inputs)
        given = {} if self.sizes.num_steps is None else {"num_steps": self.sizes.num_steps}
        run = self._run(plan_distillation(given, self.teacher, self.bench.base.kind), inputs, answers)
        while not run.is_done:
            for event in run.advance():
                if isinstance(event, Validated):
                    _say(f"  step {event.step}: agreement {event.token_accuracy:.3f}, divergence {event.loss:.3f}")
        return run.result()

    def studied(self) -> list[str]:
        """Inputs that the base model writes behind the prompt."""
        writer = InputWriter(self.bench.tokenizer, self.shots.manifest, self.teacher.distillation.instruction)

        async def write() -> list[str]:
            async with self.bench.engine.running():
                return await write_inputs(self.bench.engine, writer, self.sizes.num_inputs, {})

        return asyncio.run(write())

    def prefix_of(self, result: TuningResult) -> Prefix | None:
        """The soft prompt as it is served."""
        checkpoint = read_result(result, self.bench.base, self.bench.store.max_tensor_bytes)
        return unpublished("student", "student", checkpoint, self.shots.manifest, self.bench.base).prefixes[0]

    def num_equal(self, prefix: Prefix | None) -> float:
        """The share of the inputs held out that a student answers with the teacher's very text."""

        async def ask() -> list[Answer]:
            async with self.bench.engine.running():
                return [await self._answer(self._student_request(text, prefix)) for text in self.held_out]

        given = asyncio.run(ask())
        return self._share_equal(dict(zip(self.held_out, given, strict=True)))

    def seconds(self, prefix: Prefix | None, max_tokens: int) -> tuple[float, float, float]:
        """Median seconds per answer: the prompt computed, the prompt in the cache, and the student; in turn."""
        texts = _texts("train")[-_NUM_TIMED:]
        took: list[list[float]] = [[], [], []]

        async def ask() -> None:
            async with self.bench.engine.running():
                await self._answer(self._teacher_request(self.held_out[0], b""))  # the cache has the prompt now
                for text in texts:
                    salt = uuid.uuid4().bytes
                    computed, cached = self._teacher_request(text, salt), self._teacher_request(text)
                    three = computed, cached, self._student_request(text, prefix)
                    for times, request in zip(took, three, strict=True):
                        began = time.process_time()
                        await self._answer(_limited(request, max_tokens))
                        times.append(time.process_time() - began)

        asyncio.run(ask())
        first, second, third = map(statistics.median, took)
        return first, second, third

    def _share_equal(self, given: dict[str, Answer]) -> float:
        return statistics.fmean(given[text].text == self.answers[text].text for text in self.held_out)

    def _run(self, plan: TuningPlan, inputs: Sequence[str], answers: dict[str, Answer]) -> TuningRun:
        bench, distillation = self.bench, self.teacher.distillation
        files = [read_inputs(_lines(texts), is_text=False, min_inputs=1) for texts in (inputs, self.held_out)]
        data = tuning_data(files[0], files[1], split=Split.RANDOM)
        manifest = replace(self.shots.manifest, defaults=version_defaults(distillation))
        job = TuningJob(plan, data, manifest, bench.base_id, bench.end_token_id, distillation)
        return TuningRun(bench.loaded, bench.tokenizer, with_answers(job, answers))

    def _ask(self, teacher: Teacher, texts: Sequence[str]) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}

        async def ask() -> None:
            async with self.bench.engine.running():
                examples = [Example(text, "", 1) for text in texts]
                await write_answers(self.bench.engine, teacher, examples, answers.__setitem__)

        asyncio.run(ask())
        return answers

    async def _answer(self, request: Request[Generate]) -> Answer:
        """An answer as the teacher's are written."""
        return await text_of(
            self.bench.engine, self.bench.tokenizer, request, self.shots.manifest.stop, is_continued=False
        )

    def _teacher_request(self, text: str, salt: bytes = b"") -> Request[Generate]:
        request = self.teacher.request(self.teacher.prompt(Example(text, "", 1)), uuid.uuid4().hex)
        return replace(request, salt=salt)

    def _student_request(self, text: str, prefix: Prefix | None) -> Request[Generate]:
        prompt = encode_prompt(self.bench.tokenizer, self.shots.manifest, Example(text, "", 1))
        return replace(self.teacher.request(prompt, uuid.uuid4().hex), task="student", prefix=prefix)


def measure(bench: Bench, name: str, inputs: Sequence[str]) -> None:
    """Train one student and print its figures."""
    began = time.process_time()
    result = bench.student(inputs)
    metrics, prefix = result.metrics, bench.prefix_of(result)
    took = time.process_time() - began
    _say(
        f"{name}: {len(inputs)} inputs, {metrics['best_step']} of {metrics['num_steps']} steps, {took:.0f} s; "
        f"agreement {metrics['agreement_at_start']:.3f} -> {metrics['agreement']:.3f}, divergence "
        f"{metrics['divergence_at_start']:.3f} -> {metrics['divergence']:.3f}; the teacher's text "
        f"{bench.num_equal(prefix):.3f}"
    )
    saved = f"{metrics['prompt_tokens_before']} -> {metrics['prompt_tokens_after']} tokens of a prompt"
    for what, num_tokens in (("first token", 1), ("answer", bench.shots.max_answer_tokens)):
        computed, cached, own = bench.seconds(prefix, num_tokens)
        _say(f"{name}, {what}: prompt computed {computed:.4f} s, in the cache {cached:.4f} s, student {own:.4f} s")
    _say(f"{name}: {saved}")


def main() -> None:
    """Measure the prompts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("labels", "study", "texts"), default=("labels", "study", "texts"))
    parser.add_argument("--inputs", type=int, default=200, help="inputs to train on (default 200)")
    parser.add_argument("--held-out", type=int, default=100, help="reviews to judge on (default 100)")
    parser.add_argument("--steps", type=int, help="optimiser steps; by default those of a distillation")
    chosen = parser.parse_args()
    sizes = Sizes(chosen.inputs, chosen.held_out, chosen.steps)
    with tempfile.TemporaryDirectory() as folder:
        options = WorkbenchOptions(base_model=str(REAL_MODEL), dtype="float32", threads=1, data_dir=Path(folder))
        with open_local_workbench(options) as local:
            for shots, names in ((LABELS, ("labels", "study")), (TEXTS, ("texts",))):
                wanted = [name for name in names if name in chosen.only]
                if not wanted:
                    continue
                bench = Bench(local.bench, shots, sizes)
                shares = ", ".join(f"{share:.3f}" for share in bench.reordered())
                _say(f"the teacher with its examples reordered: the same texts {shares}")
                for name in wanted:
                    measure(bench, name, bench.studied() if name == "study" else _texts("train")[: sizes.num_inputs])


def _limited(request: Request[Generate], max_tokens: int) -> Request[Generate]:
    return replace(request, kind=replace(request.kind, sampling=replace(request.kind.sampling, max_tokens=max_tokens)))


def _texts(part: str) -> list[str]:
    lines = (REAL_MODEL.parent / "reviews" / f"{part}.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


def _lines(texts: Sequence[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
