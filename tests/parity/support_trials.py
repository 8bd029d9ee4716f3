"""Tries one architecture: every task type with every PEFT type, by the checks that the tests run.

PEFT makes and answers a soft prompt of each combination. All that PEFT runs and our reader takes is compared in crowded
batches of all of them. A comparison that does not hold raises `AssertionError`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from transformers import AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel

from prompts_store.checkpoint_records import BaseKind, ParsedCheckpoint, TaskType
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model
from server.model.encoder.proof import prove_encoder
from server.model.errors import ModelError
from server.model.self_proof import prove
from tests.devices import NAME
from tests.parity.architectures import MAX_CONTEXT, VOCAB_SIZE, build_from
from tests.parity.head_oracle import CLASSES, HeadOracle, save_checkpoint, task_index_of
from tests.parity.oracle import KINDS, PeftOracle
from tests.parity.oracle import save_checkpoint as save_generating
from tests.parity.peft_trial import TO_COMPARE, short, verdict
from tests.parity.support_row import EXACT, TASK_TYPES, Row
from tests.parity.test_encoder_decoders import check_encoder_decoder
from tests.parity.test_encoder_parity import Bench as EncoderBench
from tests.parity.test_encoder_parity import check_mixed as check_encoder
from tests.parity.test_head_parity import Bench as HeadBench
from tests.parity.test_head_parity import check_heads
from tests.parity.test_peft_parity import check_mixed_and_crowded, read_files

END = 1
Cells = dict[str, dict[str, str]]


class _Bench(Protocol):
    """A base in a folder, where PEFT saves checkpoints with heads and our reader reads them."""

    base: Path
    config: PreTrainedConfig

    def save(self, kind: str, task_type: TaskType, seed: int) -> Path: ...

    def read(self, folder: Path, task_index: int | None) -> ParsedCheckpoint: ...


def try_decoder(name: str, config: PreTrainedConfig, folder: Path) -> Row:
    """A base that generates text, and its classes with heads."""
    model = build_from(config)
    row = Row(BaseKind.DECODER, name, config.model_type)
    try:
        loaded = _load(model, folder / "base")
    except ModelError as error:
        return replace(row, refused=short(error))
    texts = _generating(model, loaded, folder)
    if compared := _compared(texts):
        check_mixed_and_crowded(model, folder / "mixed", compared)
    bench = HeadBench(folder / "heads", copy.deepcopy(model))
    cells: Cells = {TaskType.CAUSAL_LM: texts}
    for task_type in TASK_TYPES[BaseKind.DECODER][1:]:
        cells[task_type] = {kind: _with_head(bench, kind, task_type) for kind in KINDS}
    if pairs := _pairs(cells, TASK_TYPES[BaseKind.DECODER][1:]):
        check_heads(bench, pairs)
    return replace(row, cells=_exact(cells))


def try_encoder(name: str, config: PreTrainedConfig, folder: Path) -> Row:
    """A base that reads."""
    row = Row(BaseKind.ENCODER, name, config.model_type)
    try:
        bench = EncoderBench(folder, name)
        prove_encoder(bench.loaded)
    except ModelError as error:
        return replace(row, refused=short(error))
    cells: Cells = {}
    for task_type in TASK_TYPES[BaseKind.ENCODER]:
        cells[task_type] = {kind: _with_head(bench, kind, task_type) for kind in KINDS}
    pairs = _pairs(cells, TASK_TYPES[BaseKind.ENCODER])
    check_encoder(bench, {folder / f"{kind}-{task_type}": task_type for kind, task_type in pairs})
    return replace(row, cells=_exact(cells))


def try_encoder_decoder(name: str, config: PreTrainedConfig, folder: Path) -> Row:
    """A base that reads with one part and generates with the other."""
    model = build_from(config, AutoModelForSeq2SeqLM)
    row = Row(BaseKind.ENCODER_DECODER, name, config.model_type)
    try:
        loaded = _load(model, folder / "base")
    except ModelError as error:
        return replace(row, refused=short(error))
    texts = _generating(model, loaded, folder)
    check_encoder_decoder(model, folder / "mixed", _compared(texts))
    cells: Cells = {TaskType.SEQ_2_SEQ_LM: texts}
    bench = _BenchOfTwoParts(folder / "heads", model, loaded)
    for task_type in TASK_TYPES[BaseKind.ENCODER_DECODER][1:]:
        cells[task_type] = {kind: _with_head(bench, kind, task_type) for kind in KINDS}
    return replace(row, cells=_exact(cells))


class _BenchOfTwoParts:
    """As the benches of the tests: an encoder-decoder with an end token, which classes with heads look for."""

    def __init__(self, folder: Path, model: PreTrainedModel, loaded: LoadedModel) -> None:
        self.folder, self.base, self._loaded = folder, folder / "base", loaded
        model = copy.deepcopy(model)
        model.config.eos_token_id = END
        model.save_pretrained(str(self.base))
        self.config = model.config

    def save(self, kind: str, task_type: TaskType, seed: int) -> Path:
        folder = self.folder / f"{kind}-{task_type}"
        save_checkpoint(folder, self.base, kind, task_type, seed)
        return folder

    def read(self, folder: Path, task_index: int | None) -> ParsedCheckpoint:
        return read_files(folder, self._loaded, task_index)


def _load(model: PreTrainedModel, folder: Path) -> LoadedModel:
    model.save_pretrained(str(folder))
    loaded = load_base_model(BaseModelOptions(str(folder), device=NAME, dtype="float32", max_context=MAX_CONTEXT))
    prove(loaded, choose_backend(loaded.device))
    return loaded


def _generating(model: PreTrainedModel, loaded: LoadedModel, folder: Path) -> dict[str, str]:
    def save(kind: str) -> Path:
        save_generating(folder / kind, model, kind, seed=0)
        return folder / kind

    def answer(folder: Path) -> None:
        PeftOracle(folder, model, task_index_of(folder.name)).generate([1, 2, VOCAB_SIZE - 1], 2)

    def read(folder: Path) -> None:
        read_files(folder, loaded, task_index_of(folder.name))

    return {kind: verdict(partial(save, kind), answer, read) for kind in KINDS}


def _with_head(bench: _Bench, kind: str, task_type: TaskType) -> str:
    if type(bench.config) not in CLASSES[task_type]._model_mapping:
        return f"transformers has no class for {task_type}."
    index = task_index_of(kind)
    return verdict(
        lambda: bench.save(kind, task_type, seed=len(KINDS) * list(TaskType).index(task_type) + KINDS.index(kind)),
        lambda folder: _answer(HeadOracle(folder, bench.base, task_type, index), bench.config),
        lambda folder: bench.read(folder, index),
    )


def _answer(oracle: HeadOracle, config: PreTrainedConfig) -> None:
    if not config.is_encoder_decoder:
        oracle.values([5, 6, 7])
        return
    try:
        oracle.values([5, 6, END])
    except Exception as error:  # some classes want to be told where the decoder begins
        try:
            oracle.values([5, 6, END], decoder_input_ids=[0])
        except Exception:
            raise error from None


def _pairs(cells: Cells, task_types: Sequence[TaskType]) -> list[tuple[str, TaskType]]:
    return [(kind, task_type) for task_type in task_types for kind in _compared(cells[task_type])]


def _compared(cells: dict[str, str]) -> list[str]:
    return [kind for kind, cell in cells.items() if cell == TO_COMPARE]


def _exact(cells: Cells) -> Cells:
    """Called when the comparison held."""
    return {task_type: {kind: cell or EXACT for kind, cell in of_type.items()} for task_type, of_type in cells.items()}
