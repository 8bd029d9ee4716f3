"""Checkpoints with a head: what PEFT saves is read, kept byte for byte, and refused by name where a part is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertForMaskedLM,
    BertModel,
)

from prompts_store.checkpoint.digests import content_digest
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.writer import write_tensors
from prompts_store.checkpoint_records import BaseKind, BaseModel, ParsedCheckpoint, TaskType
from prompts_store.errors import InvalidCheckpoint, InvalidManifest, MalformedConfig, MalformedTensors, ShapeMismatch
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest, Pooling, ProblemType
from prompts_store.publish import draft_version
from server.model.heads.heads import Heads
from server.model.heads.held import HeldParameters
from tests.model.heads.test_classes import DECODERS, ENCODERS

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CLASSES: dict[TaskType, Any] = {
    TaskType.SEQ_CLS: AutoModelForSequenceClassification,
    TaskType.TOKEN_CLS: AutoModelForTokenClassification,
    TaskType.QUESTION_ANS: AutoModelForQuestionAnswering,
}
SEQ_CLS = TaskType.SEQ_CLS
NUM_LABELS = 3
SAVED = {
    "gpt2": {"score.weight"},
    "llama": {"score.weight"},
    "bert": {"classifier.weight", "classifier.bias"},
    "roberta": {f"classifier.{part}.{kind}" for part in ("dense", "out_proj") for kind in ("weight", "bias")},
    "electra": {f"classifier.{part}.{kind}" for part in ("dense", "out_proj") for kind in ("weight", "bias")},
    "distilbert": {f"{part}.{kind}" for part in ("pre_classifier", "classifier") for kind in ("weight", "bias")},
    "deberta": {"classifier.weight", "classifier.bias"},
}


def base_of(name: str, *files: Path) -> BaseModel:
    kind = BaseKind.DECODER if name in DECODERS else BaseKind.ENCODER
    heads = Heads((DECODERS | ENCODERS)[name], kind, HeldParameters(files))
    return BaseModel("f", (), 16, 2, 2, 8, 64, "float32", 2, kind, heads)


def save_with_peft(folder: Path, name: str, task_type: TaskType = SEQ_CLS, **config: Any) -> None:
    model_config = (DECODERS | ENCODERS)[name]
    model_config.num_labels = 2 if task_type is TaskType.QUESTION_ANS else NUM_LABELS
    sizes = {"token_dim": 16, "num_layers": 2, "num_attention_heads": 2}
    peft_config = PromptTuningConfig(task_type=str(task_type), num_virtual_tokens=3, **sizes, **config)
    model = CLASSES[task_type].from_config(model_config)
    wrapped = get_peft_model(model, peft_config)
    assert isinstance(wrapped, PeftModel)
    wrapped.save_pretrained(str(folder))


def read(folder: Path, base: BaseModel, **renamed: Any) -> ParsedCheckpoint:
    tensors = (folder / "adapter_model.safetensors").read_bytes()
    return read_bytes(tensors, (folder / "adapter_config.json").read_bytes(), base, **renamed)


def read_bytes(tensors: bytes, config: bytes, base: BaseModel) -> ParsedCheckpoint:
    return read_checkpoint(
        config, tensors, base, task_index=None, allow_base_mismatch=True, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES
    )


@pytest.fixture
def pooler(tmp_path: Path) -> Path:
    """The files of a BERT whose pooler is in them, without the name of the whole class."""
    BertModel(ENCODERS["bert"]).save_pretrained(str(tmp_path / "bert"))
    return tmp_path / "bert" / "model.safetensors"


@pytest.mark.parametrize("name", SAVED)
def test_what_peft_saves_of_a_classifier_is_read_and_written_again(name: str, tmp_path: Path, pooler: Path) -> None:
    """One matrix, or dense layers before it; DeBERTa's pooler is saved if it is listed."""
    more = {"modules_to_save": ["pooler"]} if name == "deberta" else {}
    save_with_peft(tmp_path, name, **more)
    parsed = read(tmp_path, base_of(name, *([pooler] if name == "bert" else [])))
    assert (parsed.task_type, parsed.num_labels) == (SEQ_CLS, NUM_LABELS)
    found = {tensor.name.removeprefix("base_model.") for tensor in parsed.tensors} - {"prompt_embeddings"}
    assert found - {"pooler.dense.weight", "pooler.dense.bias"} == SAVED[name]
    assert write_tensors(parsed) == (tmp_path / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("task_type", [TaskType.TOKEN_CLS, TaskType.QUESTION_ANS])
@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_what_peft_saves_for_other_types_is_read(name: str, task_type: TaskType, tmp_path: Path) -> None:
    """Labels of tokens, and the two ends of an answer."""
    save_with_peft(tmp_path, name, task_type)
    assert read(tmp_path, base_of(name)).num_labels == (2 if task_type is TaskType.QUESTION_ANS else NUM_LABELS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_model.", "base_model.model."),
        ("base_model.score.", "base_model.score.modules_to_save.default."),
        ("base_model.score.", "base_model.model.score.modules_to_save.mine."),
        ("base_model.score.", "base_model.score.modules_to_save."),
        ("base_model.score.", "base_model.score.default."),
    ],
)
def test_other_names_of_the_same_parameter_are_the_same_content(old: str, new: str, tmp_path: Path) -> None:
    """Old releases left the wrapper's names in; what is stored and digested has today's names."""
    save_with_peft(tmp_path, "gpt2")
    base, config = base_of("gpt2"), (tmp_path / "adapter_config.json").read_bytes()
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    renamed = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    assert renamed.keys() != tensors.keys()
    parsed = read_bytes(save(renamed), config, base)
    own = read(tmp_path, base)
    assert content_digest(parsed.prefix.kind, parsed, Manifest()) == content_digest(own.prefix.kind, own, Manifest())
    assert write_tensors(parsed) == write_tensors(own)


def test_a_parameter_that_neither_file_holds_is_refused_by_name(tmp_path: Path, pooler: Path) -> None:
    """It would be random. The base model's own counts, and a checkpoint's goes before it."""
    save_with_peft(tmp_path / "bert", "bert")
    BertForMaskedLM(ENCODERS["bert"]).save_pretrained(str(tmp_path / "masked"))
    with pytest.raises(MalformedTensors, match=r"base_model\.bert\.pooler\.dense\.weight is missing"):
        read(tmp_path / "bert", base_of("bert", tmp_path / "masked" / "model.safetensors"))
    read(tmp_path / "bert", base_of("bert", pooler))
    save_with_peft(tmp_path / "deberta", "deberta")
    with pytest.raises(MalformedTensors, match=r"base_model\.pooler\.dense\.weight is missing"):
        read(tmp_path / "deberta", base_of("deberta"))


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("gpt2", {"base_model.score.bias": (3,)}, MalformedTensors, r"tensors \(base_model.score.bias\)"),
        (
            "gpt2",
            {"base_model.transformer.wpe.weight": (32, 16)},
            MalformedTensors,
            r"tensors \(base_model.transformer.wpe.weight\)",
        ),
        ("gpt2", {"score.weight": (3, 16)}, MalformedTensors, r"tensors \(score.weight\)"),
        ("gpt2", {"base_model.model.score.weight": (3, 16)}, MalformedTensors, r"\(base_model.score.weight\)"),
        ("gpt2", {"base_model.score.weight": (3, 17)}, ShapeMismatch, "score"),
        ("gpt2", {"base_model.score.weight": (0, 16)}, ShapeMismatch, "labels"),
        ("gpt2", {"base_model.score.weight": (3,)}, ShapeMismatch, "labels"),
        ("distilbert", {"base_model.classifier.bias": (4,)}, ShapeMismatch, "labels"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(
    name: str, change: dict[str, tuple[int, ...]], error: type[InvalidCheckpoint], message: str, tmp_path: Path
) -> None:
    """Tensors of no head, of another size, or with other numbers of labels than each other."""
    save_with_peft(tmp_path, name)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    tensors |= {key: torch.zeros(shape) for key, shape in change.items()}
    with pytest.raises(error, match=message):
        read_bytes(save(tensors), (tmp_path / "adapter_config.json").read_bytes(), base_of(name))


@pytest.mark.parametrize("modules", [["lm_head"], ["wte"], "score", [1], ["classifier", "transformer"]])
def test_modules_to_save_may_list_parts_of_the_head_alone(modules: Any, tmp_path: Path) -> None:
    """A part of the base model would change it for every task."""
    save_with_peft(tmp_path, "gpt2")
    config = json.loads((tmp_path / "adapter_config.json").read_text()) | {"modules_to_save": modules}
    tensors = (tmp_path / "adapter_model.safetensors").read_bytes()
    with pytest.raises(MalformedConfig, match="modules_to_save"):
        read_bytes(tensors, json.dumps(config).encode(), base_of("gpt2"))


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        (Manifest(labels=("a", "b")), "labels"),
        (Manifest(stop=("x",)), "stop"),
        (Manifest(defaults={"temperature": 0.0}), "defaults"),
        (Manifest(pooling=Pooling.MEAN), "pooling"),
        (Manifest(normalize=False), "normalize"),
        (Manifest(labels=("a", "b", "c"), problem_type=ProblemType.REGRESSION), "labels"),
        (Manifest(labels=("a", "b", "c"), problem_type=ProblemType.MULTI_LABEL), None),
    ],
)
def test_a_manifest_fits_the_head(manifest: Manifest, field: str | None, tmp_path: Path) -> None:
    """Labels are as many as outputs, and what a classifier would ignore is refused."""
    save_with_peft(tmp_path, "gpt2")
    parsed = read(tmp_path, base_of("gpt2"))
    if field is None:
        draft_version(parsed, manifest, actor="", max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)
        return
    with pytest.raises(InvalidManifest) as refused:
        draft_version(parsed, manifest, actor="", max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)
    assert refused.value.param == f"manifest.{field}"


def test_a_version_that_generates_has_no_fields_of_heads(tmp_path: Path) -> None:
    """They would be ignored."""
    save_with_peft(tmp_path, "gpt2")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config |= {"task_type": "CAUSAL_LM", "modules_to_save": None}
    prompt = {"prompt_embeddings": load_file(tmp_path / "adapter_model.safetensors")["prompt_embeddings"]}
    parsed = read_bytes(save(prompt), json.dumps(config).encode(), replace(base_of("gpt2"), heads={}))
    for manifest in (Manifest(pooling=Pooling.LAST), Manifest(problem_type=ProblemType.SINGLE_LABEL)):
        with pytest.raises(InvalidManifest, match="generates text"):
            draft_version(parsed, manifest, actor="", max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)
