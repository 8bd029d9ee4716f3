"""The benchmark: this engine beside every other way to serve soft prompts, and what the design promises.

    make bench                                       everything
    make bench ARGS="--quick"                        a look, in a few minutes; its figures say little
    python -m benchmarks --only engine,floor         the engine's throughput, and its steps against the floor
    python -m benchmarks --only engine,http --rounds 3

Every figure is taken with the number of threads given, all contenders of a round one after the other. Measurements are
added to .bench/results.jsonl as lines of JSON; the table is made from those of this call, or of every call with
--all-results. Exits with 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from benchmarks import against_floor, comparison
from benchmarks.comparison import ENTRANTS, say
from benchmarks.folders import RESULTS
from benchmarks.models import LLAMA_135M, NAMES, BenchModel, prepare
from benchmarks.process import ContenderUnavailable
from benchmarks.records import Record, append, read
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.table import print_report

Section = Callable[[BenchModel, int, Sizes, str], Iterator[Record]]

SECTIONS: dict[str, Section] = {"floor": against_floor.measure}


def main() -> None:
    """Measure what was asked for, keep it, print the table."""
    options = _parse()
    sizes = QUICK if options.quick else FULL
    sizes = replace(sizes, rounds=options.rounds or sizes.rounds)
    sitting = time.strftime("%Y%m%dT%H%M%S")
    known = len(read(RESULTS))
    for name in options.model:
        model = prepare(name)
        for threads in options.threads:
            for section in _sections(options.only):
                try:
                    for record in section(model, threads, sizes, sitting):
                        append(RESULTS, [record])
                except ContenderUnavailable as error:
                    say(f"left out: {error}")
    print_report(read(RESULTS)[0 if options.all_results else known :])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [entrant.subject for entrant in ENTRANTS] + list(SECTIONS)
    parser.add_argument("--only", type=_names(names), default=names, help=f"of: {', '.join(names)}")
    parser.add_argument("--model", type=_names(NAMES), default=[LLAMA_135M], help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--threads", type=lambda text: [int(each) for each in text.split(",")], default=[1])
    parser.add_argument("--rounds", type=int, help="repeats of everything")
    parser.add_argument("--quick", action="store_true", help="fewer requests and tokens, one round")
    parser.add_argument("--all-results", action="store_true", help="the table of all calls so far")
    return parser.parse_args()


def _names(known: list[str] | tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        given = [each.strip() for each in text.split(",") if each.strip()]
        if unknown := set(given) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return given

    return parse


def _sections(only: list[str]) -> Iterator[Section]:
    entrants = [entrant for entrant in ENTRANTS if entrant.subject in only]
    if entrants:
        yield lambda model, threads, sizes, sitting: comparison.compare(entrants, model, threads, sizes, sitting)
    for name, section in SECTIONS.items():
        if name in only:
            yield section


if __name__ == "__main__":
    main()
