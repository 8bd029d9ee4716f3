"""Writes the tables of docs/support.md: `python -m tests.parity.support`. Takes long; ARCHITECTURE… tries these alone.

Each architecture is tried in a process of its own, one after the other (`support_trials`). With `--rows FILE`, rows are
kept in a file, and those that it holds are not tried again: so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from prompts_store.checkpoint_records import BaseKind
from tests.parity.architectures import CONFIGS
from tests.parity.encoder_decoders import ENCODER_DECODERS, encoder_decoder_config, other_encoder_decoders
from tests.parity.encoders import ENCODERS, encoder_config, other_encoders
from tests.parity.support_page import PAGE, page_with
from tests.parity.support_row import Row
from tests.parity.support_trials import try_decoder, try_encoder, try_encoder_decoder
from tests.parity.tiny_configs import other_types, tiny_config

_MAX_MEMORY = 9 << 30
_TIMEOUT_S = 600

Trial = Callable[[Path], Row]


def decoders() -> list[str]:
    """The rows of the decoders' tables."""
    return [*CONFIGS, *other_types()]


def encoders() -> list[str]:
    """The rows of the encoders' tables."""
    return [*ENCODERS, *other_encoders()]


def encoder_decoders() -> list[str]:
    """The rows of the encoder-decoders' tables."""
    return [*ENCODER_DECODERS, *other_encoder_decoders()]


def trials() -> dict[tuple[BaseKind, str], Trial]:
    """What is tried, by the kind of base and the name of the row."""
    tried: dict[tuple[BaseKind, str], Trial] = {}
    for name in encoder_decoders():
        tried[BaseKind.ENCODER_DECODER, name] = partial(_run, try_encoder_decoder, name, encoder_decoder_config)
    for name in encoders():
        tried[BaseKind.ENCODER, name] = partial(_run, try_encoder, name, encoder_config)
    for name in decoders():
        tried[BaseKind.DECODER, name] = partial(_run, try_decoder, name, _decoder_config)
    return tried


def _decoder_config(name: str) -> PreTrainedConfig:
    return CONFIGS[name]() if name in CONFIGS else tiny_config(name)


def _run(
    trial: Callable[[str, PreTrainedConfig, Path], Row],
    name: str,
    make_config: Callable[[str], PreTrainedConfig],
    folder: Path,
) -> Row:
    return trial(name, make_config(name), folder)


def in_a_process(kind: BaseKind, name: str, trial: Trial) -> Row:
    """A model may take any amount of memory, or end its process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    begin = time.monotonic()

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
        warnings.simplefilter("ignore")
        try:
            with tempfile.TemporaryDirectory() as folder:
                sender.send(trial(Path(folder)))
        except BaseException:
            sender.send(Row(kind, name, name, failed=traceback.format_exc()))

    process = context.Process(target=work)
    process.start()
    sender.close()
    row = Row(kind, name, name, failed=f"no answer in {_TIMEOUT_S} s")
    try:
        if receiver.poll(_TIMEOUT_S):
            row = receiver.recv()
    except EOFError:
        row = Row(kind, name, name, failed="its process ended")
    process.kill()
    process.join()
    return replace(row, seconds=round(time.monotonic() - begin, 1))


def main() -> None:
    """Try the named architectures, all by default, and write the page if all were tried and none failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rows", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = read_rows(arguments.rows) if arguments.rows and arguments.rows.exists() else {}
    rows = []
    for (kind, name), trial in trials().items():
        if arguments.names and name not in arguments.names:
            continue
        row = kept.get((kind, name)) or in_a_process(kind, name, trial)
        rows.append(row)
        if arguments.rows and (kind, name) not in kept and row.failed is None:
            with arguments.rows.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        print(describe(row), flush=True)
    failed = [row for row in rows if row.failed is not None]
    if failed:
        raise SystemExit("\n".join(f"{row.kind} {row.name}: {row.failed}" for row in failed))
    if not arguments.names:
        PAGE.write_text(page_with(rows))


def read_rows(file: Path) -> Mapping[tuple[BaseKind, str], Row]:
    """The rows that a run kept."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [Row(**values | {"kind": BaseKind(values["kind"])}) for values in found]
    return {(row.kind, row.name): row for row in rows}


def describe(row: Row) -> str:
    """A line for people."""
    outcome = row.refused or row.failed or row.cells
    return f"{row.kind} {row.name} ({row.seconds} s): {outcome}"


if __name__ == "__main__":
    main()
