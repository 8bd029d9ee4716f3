"""Rebuild the demo model from nothing: ``python -m demo.build`` (``--quick``: a tiny smoke form elsewhere).

Tokenizer, base model, soft prompts of three seeds per task, evaluation, held-out examples, figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from demo.catalog import TASKS, DemoTask, draw
from demo.data.corpus import lines
from demo.data.example import Split
from demo.evaluation import Scores, Sets, score
from demo.example_files import read_examples, reserved_inputs, write_examples
from demo.pretrain import BaseRecipe, pretrain, save_base
from demo.prompt_tuning import TuningRecipe, load_base, save_prompt, tune, with_prompt
from demo.report import FIGURES
from demo.tokenization import save_tokenizer, train_tokenizer
from server.demo import BASE_DIR, TASKS_DIR, TEMPLATE

_LOG = logging.getLogger(__name__)
_TESTS = Path(__file__).parents[1] / "tests" / "demo"


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The folders and the size of a build."""

    base_dir: Path
    tasks_dir: Path
    heldout_dir: Path
    handwritten_dir: Path
    later_dir: Path
    figures_path: Path
    base: BaseRecipe = field(default_factory=BaseRecipe)
    tuning: TuningRecipe = field(default_factory=TuningRecipe)
    tokenizer_lines: int = 150_000
    seeds: tuple[int, ...] = (1, 2, 3)
    num_heldout: int = 200
    max_tuning_steps: int | None = None


def full_plan() -> BuildPlan:
    """The folders and the size of the committed build."""
    handwritten, later = _TESTS / "handwritten", _TESTS / "handwritten_later"
    return BuildPlan(BASE_DIR, TASKS_DIR, _TESTS / "heldout", handwritten, later, FIGURES)


def quick_plan(folder: Path) -> BuildPlan:
    """Seconds instead of an hour, into ``folder``; the result is good for nothing."""
    return BuildPlan(
        folder / "base",
        folder / "tasks",
        folder / "heldout",
        _TESTS / "handwritten",
        _TESTS / "handwritten_later",
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
    wall_clock_s = _recorded_wall_clock(plan) if reuse_base else {"base": _seconds_of(lambda: build_base(plan))}
    figures: dict[str, object] = {}
    wall_clock_s["tasks"] = _seconds_of(lambda: figures.update({task.name: build_task(plan, task) for task in TASKS}))
    _write_json(plan.figures_path, {"base_recipe": asdict(plan.base), "tasks": figures, "wall_clock_s": wall_clock_s})


def _seconds_of(work: Callable[[], None]) -> int:
    started = time.monotonic()
    work()
    return round(time.monotonic() - started)


def _recorded_wall_clock(plan: BuildPlan) -> dict[str, int]:
    if not plan.figures_path.exists():
        return {}
    recorded: dict[str, int] = json.loads(plan.figures_path.read_text(encoding="utf-8"))["wall_clock_s"]
    return recorded


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
    sets = _sets(plan, task, reserved)
    write_examples(plan.heldout_dir / f"{task.name}.jsonl", sets.heldout)
    bare = score(load_base(plan.base_dir), tokenizer, task, sets)
    told = score(load_base(plan.base_dir), tokenizer, task, sets, task.instruction)
    runs = {seed: _run_seed(plan, tokenizer, task, sets, seed, reserved) for seed in plan.seeds}
    chosen = max(plan.seeds, key=lambda seed: runs[seed].validation)
    folder = _publish(plan, task, chosen)
    _write_json(folder / "manifest.json", _manifest(task, sets, runs[chosen], bare, told, chosen))
    return {
        "without_prompt": asdict(bare),
        "instruction": asdict(told),
        "soft_prompt": {str(seed): asdict(scores) for seed, scores in runs.items()},
        "published_seed": chosen,
    }


def _sets(plan: BuildPlan, task: DemoTask, reserved: frozenset[str]) -> Sets:
    later = plan.later_dir / f"{task.name}.jsonl"
    return Sets(
        draw(task, Split.VALIDATION, plan.num_heldout, 1, reserved),
        draw(task, Split.TEST, plan.num_heldout, 1, reserved),
        read_examples(plan.handwritten_dir / f"{task.name}.jsonl"),
        read_examples(later) if later.exists() else [],
    )


def _publish(plan: BuildPlan, task: DemoTask, chosen: int) -> Path:
    """Move the chosen seed's checkpoint to the task's folder and drop the others."""
    folder = plan.tasks_dir / task.name
    shutil.rmtree(folder, ignore_errors=True)
    _seed_folder(plan, task, chosen).rename(folder)
    for seed in plan.seeds:
        shutil.rmtree(_seed_folder(plan, task, seed), ignore_errors=True)
    return folder


def _run_seed(
    plan: BuildPlan, tokenizer: PreTrainedTokenizerFast, task: DemoTask, sets: Sets, seed: int, reserved: frozenset[str]
) -> Scores:
    started = time.monotonic()
    torch.manual_seed(seed)
    model = with_prompt(load_base(plan.base_dir), tokenizer, task, plan.base_dir)
    examples = draw(task, Split.TRAIN, plan.tuning.num_examples, seed, reserved)
    losses = tune(model, tokenizer, task, examples, seed, plan.tuning)
    model.eval()
    save_prompt(model, _seed_folder(plan, task, seed))
    scores = score(model, tokenizer, task, sets)
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
            **({"later_exact_match": scores.later, "later_n": len(sets.later)} if sets.later else {}),
            "base_exact_match": bare.heldout,
            "instruction_exact_match": told.heldout,
            "validation_exact_match": scores.validation,
            "seed": seed,
        },
        "note": task.note,
    }


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
