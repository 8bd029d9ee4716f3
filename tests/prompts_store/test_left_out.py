"""Tensors that were saved beside a soft prompt: left out by name, read where needed, compared with the base model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peft import PeftModel, PromptTuningConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load, save_file
from safetensors.torch import save as save_tensors

from prompts_store.checkpoint import embedding_check
from prompts_store.checkpoint.embedding_check import check_left_out
from prompts_store.checkpoint.folder import CONFIG, TENSORS, FileSource, read_files
from prompts_store.checkpoint.left_out import FileEntries, file_entries, needed_tensors
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.safetensors_header import BytesSource, read_header
from prompts_store.checkpoint_records import HeadShapes, LeftOut, ParsedCheckpoint, PeftType, TaskType
from prompts_store.errors import (
    CheckpointTooLarge,
    EmbeddingMismatch,
    InvalidCheckpoint,
    InvalidFolder,
    MalformedTensors,
    ShapeMismatch,
)
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from tests.prompts_store.checkpoints import BASE, NUM_VIRTUAL_TOKENS, config_bytes, container, tensor_bytes
from tests.prompts_store.test_peft_files import base_model, prompt_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ROWS = torch.randn(NUM_VIRTUAL_TOKENS, BASE.hidden_size, generator=torch.manual_seed(0))
WORDS = torch.randn(32, BASE.hidden_size, generator=torch.manual_seed(1))
INPUT, OUTPUT = "base_model.model.embed_tokens.weight", "base_model.lm_head.weight"


def save(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A file with tensors that may share memory."""
    return save_tensors({name: tensor.clone() for name, tensor in tensors.items()}, metadata)


@dataclass
class Watched:
    """A file in memory that remembers which ranges were read."""

    data: bytes
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        return len(self.data)

    def read(self, begin: int, end: int) -> bytes:
        self.ranges.append((begin, end))
        return self.data[begin:end]


def file_of(**others: torch.Tensor) -> bytes:
    """A file with `prompt_embeddings` and others, whose names have `__` for a dot."""
    return save({"prompt_embeddings": ROWS, **{name.replace("__", "."): tensor for name, tensor in others.items()}})


def layers(**tensors: torch.Tensor) -> Sequence[FileEntries]:
    """The embedding layers of a base model, in one file."""
    source = BytesSource(save({name.replace("__", "."): tensor for name, tensor in tensors.items()}))
    header = read_header(source)
    return [file_entries(source, header, header.entries)]


def read(
    tensors: bytes,
    base_layers: Sequence[FileEntries] | None = None,
    peft_type: PeftType = PeftType.PROMPT_TUNING,
) -> ParsedCheckpoint:
    """Read a checkpoint with these tensors, over a base model with these embedding layers."""
    return read_checkpoint(
        config_bytes(peft_type),
        tensors,
        BASE,
        task_index=None,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
        base_embeddings=None if base_layers is None else lambda: base_layers,
    )


def values(checkpoint: ParsedCheckpoint) -> Mapping[str, NDArray[np.float32]]:
    return {tensor.name: tensor.values for tensor in checkpoint.tensors}


@pytest.mark.parametrize(
    "name",
    [
        INPUT,
        OUTPUT,
        "base_model.transformer.word_embeddings.weight",
        "base_model.model.transformer.wte.weight",
        "word_embeddings.weight",
        "shared.weight",
        "base_model.gpt_neox.embed_in.weight",
        "base_model.embed_out.weight",
        "prompt_encoder.default.embedding.weight",
        "prompt_encoder.default.mlp_head.0.weight",
        "prompt_encoder.other.lstm_head.weight_ih_l0_reverse",
    ],
)
def test_a_tensor_saved_along_is_left_out_and_told(name: str) -> None:
    """The version is the one without it."""
    found, plain = read(save({"prompt_embeddings": ROWS, name: WORDS})), read(save({"prompt_embeddings": ROWS}))
    assert found.prefix.digest == plain.prefix.digest and values(found).keys() == {"prompt_embeddings"}
    assert found.left_out == (LeftOut(name, 1024, not name.startswith("prompt_encoder"), was_compared=False),)
    assert name in found.left_out[0].describe() and "1024 bytes" in found.left_out[0].describe()
    assert plain.left_out == ()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["base_model.score.weight"], "base_model.score.weight"),
        (["base_model.model.layers.0.q_proj.lora_A.weight", "z.lora_B.weight", "y", "x"], "save_pretrained"),
        (["prompt_encoder.default.delta_embedding.weight"], "delta_embedding"),
        (["base_model.transformer.wpe.weight"], "wpe"),
        (["module.prompt_embeddings"], "module.prompt_embeddings"),
        (["<b>", "a\nb"], "(a tensor)"),
    ],
)
def test_any_other_tensor_is_refused_by_name(names: list[str], sentence: str) -> None:
    """A head, other adapters, what PEFT adds to CPT's rows, positions, a second prompt; hostile names are not shown."""
    with pytest.raises(MalformedTensors, match="unexpected tensors") as refused:
        read(save({"prompt_embeddings": ROWS, **dict.fromkeys(names, torch.zeros(1))}))
    assert sentence in str(refused.value) and "<b>" not in str(refused.value)


@pytest.mark.parametrize(
    "names",
    [
        ["prompt_encoder.default.embedding.weight"],
        ["prompt_encoder.default.embedding.weight", "prompt_encoder.default.transform.0.weight", INPUT],
        ["prompt_encoder.embedding.weight", "prompt_encoder.mlp_head.0.weight"],
        ["module.prompt_embeddings"],
        ["base_model.model.prompt_embeddings"],
    ],
)
def test_the_state_of_a_training_run_is_refused_with_a_remedy(names: list[str]) -> None:
    """It has no `prompt_embeddings`, so PEFT loads none of these either."""
    with pytest.raises(MalformedTensors, match=r"state of a training run.*save_pretrained"):
        read(save(dict.fromkeys(names, ROWS)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_every_float_is_read_as_peft_reads_it(dtype: torch.dtype) -> None:
    """A double is rounded, as it is where PEFT copies it into its parameter."""
    (tensor,) = read(save({"prompt_embeddings": ROWS.double().mul(1.1).to(dtype)})).tensors
    assert np.array_equal(tensor.values, ROWS.double().mul(1.1).to(dtype).float().numpy())


def test_a_double_that_is_too_large_is_refused() -> None:
    """It would be infinite."""
    with pytest.raises(InvalidCheckpoint, match="too large"):
        read(save({"prompt_embeddings": ROWS.double() * 1e300}))


def test_only_what_is_needed_is_read() -> None:
    """The header, and the bytes of the soft prompt; what comes back is a file that PEFT could have saved."""
    source = Watched(file_of(base_model__lm_head__weight=torch.ones(4096, 64), zz__wte__weight=torch.ones(4096, 64)))
    needed = needed_tensors(source, max_bytes=1000)
    assert sum(end - begin for begin, end in source.ranges) < 1000
    assert load(needed.content).keys() == {"prompt_embeddings"}
    assert torch.equal(load(needed.content)["prompt_embeddings"], ROWS)
    assert needed.left_out is not None and len(needed.left_out.entries) == 2


def test_a_file_with_nothing_else_is_the_same_file() -> None:
    """Byte for byte, whatever its header is like."""
    for data in (save({"prompt_embeddings": ROWS}, {"format": "pt"}), tensor_bytes()):
        assert needed_tensors(BytesSource(data), max_bytes=10_000).content == data


def test_what_is_needed_is_limited() -> None:
    """And so is what a header says: tensors that share bytes would make the file longer than it is."""
    with pytest.raises(CheckpointTooLarge, match="without what is left out"):
        needed_tensors(BytesSource(file_of(lm_head__weight=WORDS)), max_bytes=100)
    span: dict[str, Any] = {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}
    for entries in (
        {"prompt_embeddings": span, "wte.weight": span},
        {"prompt_embeddings": span, "wte.w": span | {"data_offsets": [30, 54]}},
    ):
        with pytest.raises(MalformedTensors, match="overlap"):
            needed_tensors(BytesSource(container(entries, bytes(54))), max_bytes=1000)


def test_a_large_file_in_a_folder_is_not_read_as_a_whole(tmp_path: Path) -> None:
    """Three gigabytes that are not there: a sparse file. The limit is that of the soft prompt."""
    write_sparse(tmp_path, num_rows=3 * 2**30 // 32)
    found = read_files(tmp_path, max_tensor_bytes=1024)
    assert len(found.tensors) < 1024 and found.left_out is not None
    assert [entry.num_bytes for entry in found.left_out.entries] == [3 * 2**30]
    with pytest.raises(InvalidFolder, match=r"bytes; the maximum is .* without what is left out"):
        read_files(tmp_path, max_tensor_bytes=-65_500)


def write_sparse(folder: Path, num_rows: int) -> None:
    """Write a checkpoint whose embedding layer is a hole in the file, of zeros."""
    head = {
        "prompt_embeddings": {"dtype": "F32", "shape": [3, 8], "data_offsets": [0, 96]},
        INPUT: {"dtype": "F32", "shape": [num_rows, 8], "data_offsets": [96, 96 + 32 * num_rows]},
    }
    data = container(head, ROWS.numpy().tobytes())
    (folder / CONFIG).write_bytes(config_bytes())
    with (folder / TENSORS).open("wb") as file:
        file.write(data)
        file.truncate(len(data) + 32 * num_rows)


def test_blocks_of_a_large_layer_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly spaced over it, the last rows among them; of a small one all rows."""
    write_sparse(tmp_path, num_rows=1 << 20)
    source = FileSource.open(tmp_path / TENSORS)
    left_out = needed_tensors(source, max_bytes=1000).left_out
    assert left_out is not None
    own = torch.zeros(1 << 20, 8)
    assert check_left_out(left_out, lambda: layers(wte__weight=own))[0].was_compared
    own[-1, -1] = 1
    with pytest.raises(EmbeddingMismatch):
        check_left_out(left_out, lambda: layers(wte__weight=own))
    monkeypatch.setattr(embedding_check, "MAX_BLOCKS", 2)
    own[-1, -1], own[1 << 19] = 0, 1
    assert check_left_out(left_out, lambda: layers(wte__weight=own))[0].was_compared
    monkeypatch.undo()
    with pytest.raises(EmbeddingMismatch):
        check_left_out(left_out, lambda: layers(wte__weight=own))


@pytest.mark.parametrize(
    ("saved", "own"),
    [
        ({INPUT: WORDS}, {"model.embed_tokens.weight": WORDS}),
        ({INPUT: WORDS.half()}, {"model.embed_tokens.weight": WORDS}),
        ({INPUT: WORDS.bfloat16()}, {"wte.weight": WORDS}),
        ({INPUT: WORDS.bfloat16().float()}, {"wte.weight": WORDS}),
        ({INPUT: WORDS.half().float()}, {"wte.weight": WORDS}),
        ({INPUT: WORDS.half().bfloat16()}, {"wte.weight": WORDS}),
        ({INPUT: WORDS.bfloat16().float()}, {"wte.weight": WORDS.bfloat16()}),
        ({INPUT: WORDS, OUTPUT: WORDS}, {"model.embed_tokens.weight": WORDS}),
        ({INPUT: WORDS, OUTPUT: WORDS + 1}, {"model.embed_tokens.weight": WORDS, "lm_head.weight": WORDS + 1}),
        ({"base_model.lm_head.bias": WORDS[0]}, {"lm_head.weight": WORDS, "lm_head.bias": WORDS[0]}),
    ],
)
def test_the_base_models_own_layer_is_known_again(saved: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    """In any dtype that it was loaded and saved in; an output layer may be the input layer too."""
    found = read(save({"prompt_embeddings": ROWS, **saved}), layers(**own))
    assert {tensor.name for tensor in found.left_out if tensor.was_compared} == saved.keys()


@pytest.mark.parametrize(
    ("saved", "own", "error"),
    [
        ({INPUT: WORDS + 1e-4}, {"wte.weight": WORDS}, EmbeddingMismatch),
        ({INPUT: WORDS.bfloat16() * 1.02}, {"wte.weight": WORDS}, EmbeddingMismatch),
        ({OUTPUT: WORDS}, {"wte.weight": WORDS, "lm_head.weight": WORDS + 1}, EmbeddingMismatch),
        ({INPUT: torch.cat([WORDS, WORDS[:1]])}, {"wte.weight": WORDS}, ShapeMismatch),
        ({OUTPUT: WORDS[:8]}, {"wte.weight": WORDS}, ShapeMismatch),
    ],
)
def test_another_layer_is_refused_with_a_remedy(
    saved: dict[str, torch.Tensor], own: dict[str, torch.Tensor], error: type[InvalidCheckpoint]
) -> None:
    """PEFT would answer with it: values trained along, or a vocabulary of another size."""
    with pytest.raises(error, match=r"base model.*[Ss]ave|serve that one"):
        read(save({"prompt_embeddings": ROWS, **saved}), layers(**own))


@pytest.mark.parametrize(
    ("saved", "own"),
    [
        ({INPUT: WORDS}, {}),
        ({INPUT: WORDS}, {"wte.weight": WORDS.to(torch.int8)}),
        ({INPUT: WORDS.to(torch.int8)}, {"wte.weight": WORDS}),
        ({INPUT: WORDS}, {"lm_head.weight": WORDS}),
        ({"base_model.lm_head.bias": WORDS[0]}, {"wte.weight": WORDS}),
    ],
)
def test_what_cannot_be_compared_is_said(saved: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    """The base model's files hold no such layer, or not as floats."""
    found = read(save({"prompt_embeddings": ROWS, **saved}), layers(**own) if own else [])
    assert [tensor.was_compared for tensor in found.left_out] == [False]
    assert "not compared" in found.left_out[0].describe()


def test_a_base_model_whose_files_have_gone_is_not_compared(tmp_path: Path) -> None:
    """A client learns nothing of the path."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(save({"wte.weight": WORDS}))
    source = FileSource.open(file)
    header = read_header(source)
    own = [file_entries(source, header, header.entries)]
    file.unlink()
    assert not read(file_of(wte__weight=WORDS), own).left_out[0].was_compared


def test_bytes_that_do_not_fit_the_shape_are_refused() -> None:
    """Before they are compared."""
    span: dict[str, Any] = {"dtype": "F32", "shape": [3, 8], "data_offsets": [0, 96]}
    head = {"prompt_embeddings": span, "wte.weight": {"dtype": "F32", "shape": [32, 8], "data_offsets": [96, 100]}}
    with pytest.raises(MalformedTensors, match="does not fit its shape"):
        read(container(head, bytes(100)), layers(wte__weight=WORDS))


def test_a_head_beside_an_embedding_layer_is_kept() -> None:
    """The layer alone is left out."""
    base = replace(BASE, heads={TaskType.SEQ_CLS: HeadShapes({"score.weight": (None, 8)})})
    found = read_checkpoint(
        config_bytes(task_type="SEQ_CLS", modules_to_save=["classifier", "score"]),
        file_of(base_model__score__weight=ROWS, base_model__model__embed_tokens__weight=WORDS),
        base,
        task_index=None,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
        base_embeddings=lambda: layers(wte__weight=WORDS),
    )
    assert values(found).keys() == {"prompt_embeddings", "base_model.score.weight"}
    assert [(tensor.name, tensor.was_compared) for tensor in found.left_out] == [(INPUT, True)]


@settings(deadline=None)
@given(st.data())
def test_a_mutated_file_is_read_or_refused(data: st.DataObject) -> None:
    """Overwritten, cut and inserted bytes raise nothing but InvalidCheckpoint."""
    file = file_of(base_model__lm_head__weight=WORDS, prompt_encoder__default__embedding__weight=ROWS)
    begin = data.draw(st.integers(0, len(file)) | st.integers(0, 400))
    length = data.draw(st.integers(0, 8))
    file = file[:begin] + data.draw(st.binary(max_size=8)) + file[begin + length :]
    with suppress(InvalidCheckpoint):
        read(file, layers(wte__weight=WORDS))


def save_along(folder: Path, peft_model: PeftModel) -> None:
    """Save a soft prompt with the embedding layers of its model, as PEFT does it for a resized vocabulary."""
    peft_model.save_pretrained(str(folder), save_embedding_layers=True)


def test_peft_loads_an_embedding_layer_into_its_model(tmp_path: Path) -> None:
    """So one with other values changes PEFT's answers, and one with the base model's own changes nothing."""
    model = base_model("llama")
    peft_model = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    save_along(tmp_path, peft_model)
    with safe_open(tmp_path / TENSORS, "pt") as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    assert {INPUT, "prompt_embeddings"} <= saved.keys()
    save_file(
        saved | {INPUT: saved[INPUT] + 1, "prompt_encoder.default.embedding.weight": torch.ones(4, 16)},
        tmp_path / TENSORS,
    )
    loaded = PeftModel.from_pretrained(base_model("llama"), str(tmp_path))
    own = loaded.get_base_model().get_input_embeddings().weight
    assert torch.equal(own, saved[INPUT] + 1)
    assert np.array_equal(prompt_of(loaded, None), saved["prompt_embeddings"].numpy())
