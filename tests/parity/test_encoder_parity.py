"""Heads on encoders against PEFT itself: every family, prompt type and task type, mixed in one ragged batch."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseKind, BaseModel, ParsedCheckpoint, TaskType
from prompts_store.errors import InvalidCheckpoint
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from server.engine.encoder.engine import EncoderEngine
from server.engine.encoder.options import EncoderOptions
from server.engine.events import Encoded, EngineEvent
from server.engine.request import Encode, Request
from server.model.base_model import BaseModelOptions
from server.model.encoder.loading import load_encoder
from server.model.encoder.runner import EncoderRunner
from server.model.heads.heads import Heads
from server.model.heads.held import HeldParameters
from server.model.prefix import prefix_of
from tests.devices import NAME
from tests.parity.encoders import MAX_POSITIONS, VOCAB_SIZE, build_encoder, encoder_config
from tests.parity.head_oracle import HeadOracle, load_class, runs, save_checkpoint, task_index_of
from tests.parity.oracle import peft_config

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # torch's prefix encoder of PEFT runs a module on an empty buffer.
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]

TOLERANCE = 1e-4
KINDS = ("prompt", "p", "multitask", "prefix", "cartridge")
KEY_VALUES = ("prefix", "cartridge")
SEQ_CLS = TaskType.SEQ_CLS
CLASS_SAVED = dict.fromkeys(
    ("deberta-v2", "eurobert", "gte", "modernbert", "nomic_bert"), AutoModelForSequenceClassification
)
"""Their poolers belong to this class, and PEFT does not save them: the base model's files must hold them."""
COMPLETE = ("bert", "roberta")
CLASSIFIED = (
    "xlm-roberta",
    "electra",
    "electra-narrow",
    "distilbert",
    "deberta-v2",
    "albert",
    "mpnet",
    "modernbert",
)
FAMILIES = (*COMPLETE, *CLASSIFIED)
WITHOUT_PREFIX = ("albert", "distilbert", "deberta-v2", "mpnet", "modernbert")


class Bench:
    """An encoder in a folder, our engine over it, and its tasks with heads."""

    def __init__(self, folder: Path, family: str, auto: Any = None) -> None:
        self.folder, self.family = folder, family
        self.base = folder / "base"
        self.config = config = encoder_config(family)
        saved_as = auto or CLASS_SAVED.get(config.model_type, AutoModel)
        build_encoder(config, saved_as).save_pretrained(str(self.base))
        if saved_as is AutoModelForSequenceClassification:
            drop_tensors(self.base / "model.safetensors", "classifier.")
        options = BaseModelOptions(str(self.base), device=NAME, dtype="float32", max_context=MAX_POSITIONS)
        self.loaded = load_encoder(options)
        held = HeldParameters([self.base / "model.safetensors"])
        self.heads = Heads(self.loaded.model.config, BaseKind.ENCODER, held, self.loaded.device)
        sizes = self.loaded.architecture
        self.facts = BaseModel(
            "f",
            (),
            sizes.hidden_size,
            sizes.num_layers,
            *(sizes.uniform_kv or (None, None)),
            sizes.max_context,
            "float32",
            sizes.num_attention_heads,
            sizes.kind,
            self.heads,
            sizes.key_values_problem,
        )
        self.options = EncoderOptions(5, 64, 1000, sizes.max_context, VOCAB_SIZE)
        self.engine = EncoderEngine(EncoderRunner(self.loaded), self.options)
        self.answers: dict[str, list[EngineEvent]] = {}

    def save(self, kind: str, task_type: TaskType, seed: int = 0, sizes: Mapping[str, int] | None = None) -> Path:
        """`sizes` are told to PEFT; where words are narrower than the layers it wants their width."""
        folder = self.folder / f"{kind}-{task_type}"
        given = self._word_width(kind) if sizes is None else sizes
        save_checkpoint(folder, self.base, kind, task_type, seed, **given)
        return folder

    def _word_width(self, kind: str) -> dict[str, int]:
        is_narrow = self.facts.hidden_size != self.loaded.model.config.hidden_size
        return {"token_dim": self.facts.hidden_size} if is_narrow and kind not in KEY_VALUES else {}

    def read(self, folder: Path, task_index: int | None = None) -> ParsedCheckpoint:
        return read_checkpoint(
            (folder / "adapter_config.json").read_bytes(),
            (folder / "adapter_model.safetensors").read_bytes(),
            self.facts,
            task_index=task_index,
            allow_base_mismatch=True,
            max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
        )

    def ask(self, name: str, folder: Path, prompt: Sequence[int]) -> None:
        checkpoint = self.read(folder, task_index_of(folder.name.partition("-")[0]))
        head = self.heads.build(checkpoint, Manifest())
        request = Request(name, folder.name, tuple(prompt), Encode(head), prefix_of(checkpoint.prefix))
        self.options.check(request)
        self.engine.add(request, self.answers.setdefault(name, []).append)

    def answer(self, name: str) -> torch.Tensor:
        (event,) = self.answers[name]
        assert isinstance(event, Encoded), event
        return torch.from_numpy(event.values)


def drop_tensors(file: Path, prefix: str) -> None:
    """As the bases that people have: their files hold poolers, and no labels of anybody."""
    kept = {name: tensor for name, tensor in load_file(file).items() if not name.startswith(prefix)}
    save_file(kept, file, metadata={"format": "pt"})


def check_mixed(bench: Bench, folders: dict[Path, TaskType]) -> None:
    """Requests of all tasks in crowded batches, each answer as PEFT's alone."""
    rng = random.Random(0)
    prompts = [[rng.randrange(3, VOCAB_SIZE) for _ in range(length)] for length in (3, 9, 9, 31)]
    padding = bench.loaded.model.config.pad_token_id
    prompts.append([7, padding, 8, padding])
    for folder in folders:
        for index, prompt in enumerate(prompts):
            bench.ask(f"{folder.name}/{index}", folder, prompt)
    while bench.engine.has_work:
        bench.engine.step()
    assert bench.engine.stats.num_steps < len(folders) * len(prompts)
    for folder, task_type in folders.items():
        oracle = HeadOracle(folder, bench.base, task_type, task_index_of(folder.name.partition("-")[0]))
        for index, prompt in enumerate(prompts):
            expected = oracle.values(prompt)
            if task_type is TaskType.FEATURE_EXTRACTION:  # the mean over the text is an encoder's default
                expected = expected[-len(prompt) :].mean(0, keepdim=True)
            found = bench.answer(f"{folder.name}/{index}")
            assert found.shape == expected.shape
            assert float((found - expected).abs().max()) < TOLERANCE, (folder.name, index)


@pytest.mark.parametrize("family", CLASSIFIED)
def test_a_classifier_in_a_ragged_batch_equals_peft_alone(family: str, tmp_path: Path) -> None:
    """Each prompt type that PEFT runs on the family, all in the same batches."""
    bench = Bench(tmp_path, family)
    kinds = [kind for kind in KINDS if kind not in KEY_VALUES or family not in WITHOUT_PREFIX]
    folders = {bench.save(kind, SEQ_CLS, seed): SEQ_CLS for seed, kind in enumerate(kinds)}
    check_mixed(bench, folders)


@pytest.mark.parametrize("family", COMPLETE)
def test_every_task_type_in_a_ragged_batch_equals_peft_alone(family: str, tmp_path: Path) -> None:
    """Classes of texts and of tokens, ends of answers, and features: eighteen tasks at once."""
    bench = Bench(tmp_path, family)
    task_types = [task_type for task_type in TaskType if task_type.has_head]
    pairs = [(kind, task_type) for kind in KINDS for task_type in task_types if runs(kind, task_type)]
    folders = {bench.save(kind, task_type): task_type for kind, task_type in pairs}
    check_mixed(bench, folders)


@pytest.mark.parametrize("family", WITHOUT_PREFIX)
def test_keys_and_values_are_refused_where_peft_fails(family: str, tmp_path: Path) -> None:
    """By name, when the checkpoint is published."""
    bench = Bench(tmp_path, family)
    folder = bench.save("prefix", SEQ_CLS)
    with pytest.raises(InvalidCheckpoint, match=f"{family} models take no past_key_values, so PEFT cannot run"):
        bench.read(folder)
    with pytest.raises(ValueError, match="Model does not support past key values"):
        HeadOracle(folder, bench.base, SEQ_CLS).values([5, 6])


@pytest.mark.parametrize("kind", ["prompt", "p"])
def test_embeddings_as_wide_as_the_layers_do_not_fit_narrower_words(kind: str, tmp_path: Path) -> None:
    """PEFT's own default for ELECTRA, which PEFT cannot run."""
    bench = Bench(tmp_path, "electra-narrow")
    folder = bench.save(kind, SEQ_CLS, sizes={})
    with pytest.raises(InvalidCheckpoint, match="token_dim is 32; the base model needs 16"):
        bench.read(folder)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        HeadOracle(folder, bench.base, SEQ_CLS).values([5, 6])


def test_peft_wants_to_be_told_the_sizes_of_distilbert(tmp_path: Path) -> None:
    """Without them there is no checkpoint."""
    bench = Bench(tmp_path, "distilbert")
    with pytest.raises(ValueError, match="token_dim"):
        get_peft_model(load_class(bench.base, SEQ_CLS, 0), peft_config("prompt", SEQ_CLS))


def test_a_classifier_over_a_pooler_that_nobody_holds_is_refused(tmp_path: Path) -> None:
    """A masked language model has none, and PEFT does not save the one that it trained beside the prompt."""
    bench = Bench(tmp_path, "bert", AutoModelForMaskedLM)
    folder = bench.save("prompt", SEQ_CLS)
    with pytest.raises(InvalidCheckpoint, match="pooler"):
        bench.read(folder)
    models = [PeftModel.from_pretrained(load_class(bench.base, SEQ_CLS, seed), str(folder)) for seed in (1, 2)]
    first, second = (model.eval()(input_ids=torch.tensor([[5, 6]])).logits for model in models)
    assert not torch.allclose(first, second)
