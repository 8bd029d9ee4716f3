"""The benchmark: this engine beside every other way to serve soft prompts, and what the design promises.

    make bench                                       everything
    make bench ARGS="--quick"                        a look, in a few minutes; its figures say little
    python -m benchmarks --only engine,lower-bound   the engine's throughput, and its steps against the lower bound
    python -m benchmarks --only engine,http --model demo --threads 2 --rounds 5

Every contender has a process of its own; they are started first, and then asked one after the other, round after round.
Measurements are added to .bench/results.jsonl as lines of JSON; the tables and plots are made from those of this call,
or of every call with --all-results. Exits with 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import against_lower_bound, comparison, growth, single_stream, start
from benchmarks.comparison import ENTRANTS
from benchmarks.folders import RESULTS
from benchmarks.machine_lock import MachineLock
from benchmarks.models import DEMO, LLAMA_135M, NAMES, prepare
from benchmarks.process import ContenderUnavailable
from benchmarks.promises import abort, flood, mixed_tasks, publish, virtual_tokens, zipf
from benchmarks.records import Record, append, read
from benchmarks.session import Session, say
from benchmarks.sizes import FULL, QUICK
from benchmarks.table import report


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the benchmark, and what it is measured on unless told otherwise."""

    measure: Callable[[Session], Iterator[Record]]
    model: str = LLAMA_135M
    threads: tuple[int, ...] = (1,)
    rounds: int | None = None


SECTIONS = {
    "lower-bound": Section(against_lower_bound.measure, threads=(1, 2)),
    "single": Section(single_stream.measure, threads=(1, 2)),
    "mixed": Section(mixed_tasks.measure),
    "virtual": Section(virtual_tokens.measure),
    "publish": Section(publish.measure, DEMO),
    "flood": Section(flood.measure, DEMO),
    "zipf": Section(zipf.measure, DEMO),
    "abort": Section(abort.measure, DEMO),
    "start": Section(start.measure),
    "growth": Section(growth.measure, threads=(1, 2), rounds=1),
}


def main() -> None:
    """Measure what was asked for, keep it, print the tables."""
    options = _parse()
    sizes = QUICK if options.quick else FULL
    known = len(read(RESULTS))
    name = time.strftime("%Y%m%dT%H%M%S")
    lock = MachineLock(options.lock_command, options.max_lock_s)
    for section, model, threads in _planned(options):
        rounds = options.rounds or section.rounds or sizes.rounds
        session = Session(name, prepare(model), threads, replace(sizes, rounds=rounds), lock)
        try:
            for record in section.measure(session):
                append(RESULTS, [record])
        except ContenderUnavailable as error:
            say(f"left out: {error}")
    lock.release()
    records = read(RESULTS)[0 if options.all_results else known :]
    print(report(records))
    if options.plots is not None:
        from benchmarks.plots import draw

        draw(records, options.plots)


def _planned(options: argparse.Namespace) -> Iterator[tuple[Section, str, int]]:
    """What to measure, on which model, with how many threads."""
    chosen = [*_comparisons(options), *(section for name, section in SECTIONS.items() if name in options.only)]
    for section in chosen:
        for threads in options.threads or section.threads:
            yield section, options.model or section.model, threads


def _comparisons(options: argparse.Namespace) -> Iterator[Section]:
    """Every contender with one thread on the large model; the main ones also with two, and on the demo model."""
    entrants = [entrant for entrant in ENTRANTS if entrant.subject in options.only]
    if not entrants:
        return
    yield Section(lambda session: comparison.compare(entrants, session))
    if options.threads is None and options.model is None:
        main = [entrant for entrant in entrants if entrant.is_everywhere]
        yield Section(lambda session: comparison.compare(main, session), threads=(2,))
        yield Section(lambda session: comparison.compare(main, session), DEMO)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*(entrant.subject for entrant in ENTRANTS), *SECTIONS]
    parser.add_argument("--only", type=_names(names), default=names, help=f"of: {', '.join(names)}")
    parser.add_argument("--model", choices=NAMES, help="one model for everything that is measured")
    parser.add_argument("--threads", type=lambda text: [int(each) for each in text.split(",")], help="for instance 1,2")
    parser.add_argument("--rounds", type=int, help="repeats; 3 unless told, of the curves 1")
    parser.add_argument("--quick", action="store_true", help="fewer requests and tokens, one round")
    parser.add_argument("--all-results", action="store_true", help="the tables of all calls so far")
    parser.add_argument("--plots", type=Path, help="a folder for plots; needs matplotlib (extra `plots`)")
    parser.add_argument(
        "--lock-command", help="keeps other work off the machine while it runs, and prints a line when it does"
    )
    parser.add_argument("--max-lock-s", type=float, default=240, help="maximum time of one lock, in seconds")
    return parser.parse_args()


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        given = [each.strip() for each in text.split(",") if each.strip()]
        if unknown := set(given) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return given

    return parse


if __name__ == "__main__":
    main()
