"""Rebuild the demo model from nothing: ``python -m server.demo.build`` (``--quick``: a tiny smoke form elsewhere).

Tokenizer, base model, soft prompts of three seeds a task, evaluation, held-out examples, figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
import statistics
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from server.demo import BASE_DIR, TASKS_DIR
from server.demo.catalog import TASKS, TEMPLATE, DemoTask, draw
from server.demo.data.corpus import lines
from server.demo.data.example import Example, Split, normalised
from server.demo.evaluation import answers, exact_match
from server.demo.pretrain import BaseRecipe, pretrain, save_base
from server.demo.prompt_tuning import TuningRecipe, load_base, save_prompt, tune, with_prompt
from server.demo.tokenization import save_tokenizer, train_tokenizer

_LOG = logging.getLogger(__name__)
_TESTS = Path(__file__).parents[2] / "tests" / "demo"
_FIGURES = Path(__file__).parent / "figures.json"


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Where everything goes and how much of it is made."""

    base_dir: Path
    tasks_dir: Path
    heldout_dir: Path
    handwritten_dir: Path
    figures_path: Path
    base: BaseRecipe = field(default_factory=BaseRecipe)
    tuning: TuningRecipe = field(default_factory=TuningRecipe)
    tokenizer_lines: int = 150_000
    seeds: tuple[int, ...] = (1, 2, 3)
    num_heldout: int = 200
    max_tuning_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Sets:
    """The examples of one task that it is judged by; ``validation`` chooses, the others are only reported."""

    validation: list[Example]
    heldout: list[Example]
    handwritten: list[Example]


@dataclass(frozen=True, slots=True)
class Scores:
    """Exact match on each set."""

    validation: float
    heldout: float
    handwritten: float


def full_plan() -> BuildPlan:
    """What is committed."""
    return BuildPlan(BASE_DIR, TASKS_DIR, _TESTS / "heldout", _TESTS / "handwritten", _FIGURES)


def quick_plan(folder: Path) -> BuildPlan:
    """Seconds instead of an hour, into ``folder``; the result is good for nothing."""
    return BuildPlan(
        folder / "base",
        folder / "tasks",
        folder / "heldout",
        _TESTS / "handwritten",
        folder / "figures.json",
        base=BaseRecipe(
            hidden_size=32, num_layers=1, intermediate_size=64, vocab_size=400, num_steps=3, chunk_lines=300
        ),
        tuning=TuningRecipe(num_examples=32, batch_size=4),
        tokenizer_lines=300,
        seeds=(1,),
        num_heldout=4,
        max_tuning_steps=2,
    )


def build(plan: BuildPlan, *, reuse_base: bool = False) -> None:
    """Make the base model (unless it is reused) and the soft prompts, and write all figures."""
    torch.set_num_threads(1)
    started = time.monotonic()
    if not reuse_base:
        build_base(plan)
    seconds = {"base": time.monotonic() - started}
    started = time.monotonic()
    figures = {task.name: build_task(plan, task) for task in TASKS}
    seconds["tasks"] = time.monotonic() - started
    report = {
        "base_recipe": asdict(plan.base),
        "tasks": figures,
        "wall_clock_s": {k: round(v) for k, v in seconds.items()},
    }
    _write_json(plan.figures_path, report)


def build_base(plan: BuildPlan) -> None:
    """Train tokenizer and base model and save both."""
    reserved = reserved_inputs(plan.handwritten_dir)
    sample = itertools.islice(lines(plan.base.seed + 1000, reserved), plan.tokenizer_lines)
    tokenizer = train_tokenizer((line.prompt + line.output for line in sample), plan.base.vocab_size)
    _LOG.info("tokenizer of %d entries", len(tokenizer))
    plan.base_dir.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, plan.base_dir)
    save_base(pretrain(tokenizer, plan.base, reserved), tokenizer, plan.base_dir)


def build_task(plan: BuildPlan, task: DemoTask) -> dict[str, object]:
    """Tune the task's prompt with every seed, publish the best on validation, and return its figures."""
    if plan.max_tuning_steps is not None:
        task = replace(task, num_steps=plan.max_tuning_steps)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(plan.base_dir)
    reserved = reserved_inputs(plan.handwritten_dir)
    sets = Sets(
        draw(task, Split.VALIDATION, plan.num_heldout, 1, reserved),
        draw(task, Split.TEST, plan.num_heldout, 1, reserved),
        read_examples(plan.handwritten_dir / f"{task.name}.jsonl"),
    )
    write_examples(plan.heldout_dir / f"{task.name}.jsonl", sets.heldout)
    bare = score_plain(plan, tokenizer, task, sets, "")
    told = score_plain(plan, tokenizer, task, sets, task.instruction)
    runs = {seed: _run_seed(plan, tokenizer, task, sets, seed, reserved) for seed in plan.seeds}
    chosen = max(plan.seeds, key=lambda seed: runs[seed].validation)
    folder = plan.tasks_dir / task.name
    for seed in plan.seeds:
        source = _seed_folder(plan, task, seed)
        if seed == chosen:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(source, folder)
        shutil.rmtree(source)
    _write_json(folder / "manifest.json", _manifest(task, sets, runs[chosen], bare, told, chosen))
    return {
        "without_prompt": asdict(bare),
        "instruction": asdict(told),
        "soft_prompt": {str(seed): asdict(scores) for seed, scores in runs.items()},
        "heldout_mean": round(statistics.mean(scores.heldout for scores in runs.values()), 4),
        "published_seed": chosen,
    }


def score_plain(
    plan: BuildPlan, tokenizer: PreTrainedTokenizerFast, task: DemoTask, sets: Sets, instruction: str
) -> Scores:
    """The base model without soft prompt, after ``instruction`` (which may be empty)."""
    base = load_base(plan.base_dir)

    def score(examples: list[Example]) -> float:
        prompts = [instruction + TEMPLATE.replace("{input}", example.input) for example in examples]
        return exact_match(answers(base, tokenizer, prompts, task.max_tokens), examples)

    return Scores(score(sets.validation), score(sets.heldout), score(sets.handwritten))


def _run_seed(
    plan: BuildPlan, tokenizer: PreTrainedTokenizerFast, task: DemoTask, sets: Sets, seed: int, reserved: frozenset[str]
) -> Scores:
    started = time.monotonic()
    torch.manual_seed(seed)
    model = with_prompt(load_base(plan.base_dir), tokenizer, task, plan.base_dir)
    losses = tune(
        model, tokenizer, task, draw(task, Split.TRAIN, plan.tuning.num_examples, seed, reserved), seed, plan.tuning
    )
    model.eval()
    save_prompt(model, _seed_folder(plan, task, seed))

    def score(examples: list[Example]) -> float:
        prompts = [TEMPLATE.replace("{input}", example.input) for example in examples]
        return exact_match(answers(model, tokenizer, prompts, task.max_tokens), examples)

    scores = Scores(score(sets.validation), score(sets.heldout), score(sets.handwritten))
    final = statistics.mean(losses[-20:])
    _LOG.info("%s seed %d: loss %.3f, %s, %.0f s", task.name, seed, final, scores, time.monotonic() - started)
    return scores


def _seed_folder(plan: BuildPlan, task: DemoTask, seed: int) -> Path:
    return plan.tasks_dir / f".{task.name}-seed-{seed}"


def _manifest(task: DemoTask, sets: Sets, scores: Scores, bare: Scores, told: Scores, seed: int) -> dict[str, object]:
    return {
        "description": task.description,
        "template": TEMPLATE,
        "labels": list(task.labels) if task.labels else None,
        "stop": [],
        "add_special_tokens": False,
        "defaults": {"temperature": 0, "max_tokens": task.max_tokens},
        "metrics": {
            "heldout_exact_match": scores.heldout,
            "heldout_n": len(sets.heldout),
            "handwritten_exact_match": scores.handwritten,
            "handwritten_n": len(sets.handwritten),
            "base_exact_match": bare.heldout,
            "instruction_exact_match": told.heldout,
            "validation_exact_match": scores.validation,
            "seed": seed,
        },
        "note": task.note,
    }


def reserved_inputs(handwritten_dir: Path) -> frozenset[str]:
    """Normalised hand-written inputs: no training example may equal one."""
    files = sorted(handwritten_dir.glob("*.jsonl"))
    return frozenset(normalised(example.input) for path in files for example in read_examples(path))


def read_examples(path: Path) -> list[Example]:
    """Examples of a file of ``{"input", "output"}`` lines."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Example(row["input"], row["output"], row["input"]) for row in rows]


def write_examples(path: Path, examples: list[Example]) -> None:
    """The counterpart of ``read_examples``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"input": e.input, "output": e.output}, ensure_ascii=False) for e in examples]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Rebuild the demo model.")
    parser.add_argument("--quick", type=Path, metavar="FOLDER", help="a tiny smoke build into FOLDER")
    parser.add_argument("--reuse-base", action="store_true", help="keep the base model, rebuild the soft prompts")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = full_plan() if arguments.quick is None else quick_plan(arguments.quick)
    build(plan, reuse_base=arguments.reuse_base)


if __name__ == "__main__":
    main()
