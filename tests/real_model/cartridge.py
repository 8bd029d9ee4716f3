"""A document becomes a cartridge on a real model, and is asked about: `make cartridge-real`.

The base model is SmolLM2-135M-Instruct. Four answer the same questions: the teacher, with the whole document in its
context; the cartridge; the base model with as many tokens of the document as the cartridge has; and the base model
alone. An answer is right if it has all keywords of its question. Ctrl-C saves the run, and the same command resumes it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prompts_store.names import TaskReference
from server.app import Workbench
from server.cli.tuning.workbench import WorkbenchOptions, open_local_workbench
from server.jobs.candidates import load_candidate
from server.tuning.candidate import Candidate
from server.tuning.distillation.answers import answer_to
from server.tuning.distillation.teacher import Teacher
from server.tuning.encoding import encode_prompt
from server.tuning.example_line import Example
from server.tuning.teaching import Distillation
from tests.real_model.fetch import FLOAT32

EXAMPLES = Path(__file__).parents[2] / "examples"
DOCUMENT, QUESTIONS = EXAMPLES / "orrinmoor.txt", EXAMPLES / "orrinmoor_questions.jsonl"
TASK, NUM_VIRTUAL_TOKENS, NUM_ANSWER_TOKENS = "orrinmoor", 256, 32
REFERENCE = TaskReference.parse(TASK)

COLUMNS = ("teacher", "cartridge", f"first {NUM_VIRTUAL_TOKENS} tokens", "base")
OPTIONS = {
    "--virtual-tokens": NUM_VIRTUAL_TOKENS,
    "--max-answer-tokens": NUM_ANSWER_TOKENS,
    "--num-inputs": 140,
    "--steps": 240,
    "--batch-size": 4,
    "--learning-rate-multiplier": 2,
    "--warmup-steps": 20,
    "--validate-every": 60,
    "--threads": 1,
}


def main() -> None:
    """Make the cartridge if there is none, ask the questions, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir", type=Path, default=Path("build/cartridge"), help="folder of the run and its store"
    )
    folder = parser.parse_args().data_dir
    place = WorkbenchOptions(base_model=str(FLOAT32), data_dir=folder, threads=1)
    if not _exists(place):
        options = [str(one) for option in OPTIONS.items() for one in option]
        where = ["--base-model", str(FLOAT32), "--data-dir", str(folder)]
        command = [sys.executable, "-m", "server.cli", "distil", TASK, "--document", str(DOCUMENT), *where, *options]
        if code := subprocess.run(command, check=False).returncode:
            sys.exit(code)
    questions = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    with open_local_workbench(place) as local:
        bench = local.bench
        version = load_candidate(bench.store, bench.base, bench.store.resolve(bench.base.fingerprint, REFERENCE))
        teacher = Teacher(bench.tokenizer, version.manifest, Distillation(DOCUMENT.read_text(), NUM_ANSWER_TOKENS))
        found = asyncio.run(answers(bench, teacher, version, [one["question"] for one in questions]))
    print(table(questions, found))
    print(json.dumps(dict(version.manifest.metrics), indent=2))


def _exists(place: WorkbenchOptions) -> bool:
    with open_local_workbench(place) as local:
        return TASK in {task.name for task in local.bench.store.list_tasks(local.bench.base.fingerprint)}


async def answers(bench: Workbench, teacher: Teacher, version: Candidate, questions: Sequence[str]) -> list[list[str]]:
    """The answers of each column to each question, greedy."""
    ids = bench.tokenizer.encode(teacher.distillation.instruction, add_special_tokens=False)
    beginning = Distillation(bench.tokenizer.decode(ids[:NUM_VIRTUAL_TOKENS]), NUM_ANSWER_TOKENS)
    short = replace(teacher, distillation=beginning)
    (cartridge,) = version.prefixes
    rows = []
    async with bench.engine.running():
        for number, question in enumerate(questions, start=1):
            example = Example(question, "", number)
            alone = encode_prompt(bench.tokenizer, teacher.manifest, example)
            asked = [
                teacher.request(teacher.prompt(example), f"teacher-{number}"),
                replace(teacher.request(alone, f"cartridge-{number}"), prefix=cartridge),
                teacher.request(short.prompt(example), f"beginning-{number}"),
                teacher.request(alone, f"base-{number}"),
            ]
            rows.append([(await answer_to(bench.engine, teacher, one)).text.strip() for one in asked])
    return rows


def table(questions: Sequence[Mapping[str, Any]], found: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, with the number of right answers in its last row."""
    lines = [f"| question | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    num_right = [0] * len(COLUMNS)
    for one, texts in zip(questions, found, strict=True):
        right = [is_right(text, one["keywords"]) for text in texts]
        num_right = [total + is_it for total, is_it in zip(num_right, right, strict=True)]
        cells = [
            f"{'**right** ' if is_it else ''}{' '.join(text.split())}" for text, is_it in zip(texts, right, strict=True)
        ]
        lines.append(f"| {one['question']} | {' | '.join(cells)} |")
    return "\n".join([*lines, f"| right of {len(questions)} | {' | '.join(map(str, num_right))} |"])


def is_right(text: str, keywords: Sequence[str]) -> bool:
    """Whether an answer has all keywords, in upper or lower case."""
    return all(word.lower() in text.lower() for word in keywords)


if __name__ == "__main__":
    main()
