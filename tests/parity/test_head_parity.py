"""Heads on decoders against PEFT itself: one crowded batch with generating tasks, each answer as PEFT's alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseKind, BaseModel, ParsedCheckpoint, TaskType
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from server.engine.errors import NumbersOverflow
from server.engine.events import Encoded, EngineEvent, RequestFailed, RequestFinished
from server.engine.paged.engine import Engine
from server.engine.paged.options import check_request
from server.engine.request import Encode, Generate, Request, SamplingParams
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model
from server.model.heads.classes import ClassHead
from server.model.heads.head import Head, Rows
from server.model.heads.heads import Heads
from server.model.heads.held import HeldParameters
from server.model.prefix import Prefix, prefix_of
from tests.devices import NAME
from tests.parity.architectures import MAX_CONTEXT, VOCAB_SIZE, build
from tests.parity.head_oracle import HeadOracle, runs, save_checkpoint, task_index_of
from tests.parity.test_peft_parity import crowded_engine

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported for parameter efficient tuning:UserWarning"),
    # torch's prefix encoder of PEFT runs a module on an empty buffer.
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]

TOLERANCE = 1e-4
PAD = 0
SEQ_CLS = TaskType.SEQ_CLS
KINDS = ("prompt", "p", "multitask", "prefix", "cartridge")
OTHERS = (TaskType.TOKEN_CLS, TaskType.QUESTION_ANS, TaskType.FEATURE_EXTRACTION)


@dataclass(frozen=True)
class HeadTask:
    """A prefix and a head as our reader makes them from PEFT's files, and PEFT's own answer to any prompt."""

    name: str
    task_type: TaskType
    prefix: Prefix
    head: Head
    oracle: HeadOracle

    def expected(self, prompt: Sequence[int], manifest: Manifest) -> torch.Tensor:
        values = self.oracle.values(prompt)
        if self.task_type is TaskType.FEATURE_EXTRACTION:
            return values[-len(prompt) :].mean(0, keepdim=True) if manifest.pooling == "mean" else values[-1:]
        return values


def base_of(loaded: LoadedModel, heads: Heads) -> BaseModel:
    sizes = loaded.architecture
    return BaseModel(
        "f",
        (),
        sizes.hidden_size,
        sizes.num_layers,
        *(sizes.uniform_kv or (None, None)),
        MAX_CONTEXT,
        "float32",
        sizes.num_attention_heads,
        heads=heads,
    )


class Bench:
    """A base model in a folder, our engine over it, and its tasks with heads."""

    def __init__(self, folder: Path, model: PreTrainedModel) -> None:
        self.folder = folder
        self.base = folder / "base"
        model.config.pad_token_id = PAD
        self.config = model.config
        model.save_pretrained(str(self.base))
        options = BaseModelOptions(str(self.base), device=NAME, dtype="float32", max_context=MAX_CONTEXT)
        self.loaded = load_base_model(options)
        self.heads = Heads(model.config, BaseKind.DECODER, HeldParameters(()), self.loaded.device)
        self.engine: Engine = crowded_engine(self.loaded)
        self.answers: dict[str, list[EngineEvent]] = {}

    def save(self, kind: str, task_type: TaskType, seed: int = 0) -> Path:
        folder = self.folder / f"{kind}-{task_type}"
        save_checkpoint(folder, self.base, kind, task_type, seed)
        return folder

    def read(self, folder: Path, task_index: int | None) -> ParsedCheckpoint:
        return read_checkpoint(
            (folder / "adapter_config.json").read_bytes(),
            (folder / "adapter_model.safetensors").read_bytes(),
            base_of(self.loaded, self.heads),
            task_index=task_index,
            allow_base_mismatch=True,
            max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
        )

    def task(self, kind: str, task_type: TaskType, manifest: Manifest = Manifest(), seed: int = 0) -> HeadTask:  # noqa: B008
        folder = self.folder / f"{kind}-{task_type}"
        if not folder.exists():
            self.save(kind, task_type, seed)
        task_index = task_index_of(kind)
        checkpoint = self.read(folder, task_index)
        head = self.heads.build(checkpoint, manifest)
        oracle = HeadOracle(folder, self.base, task_type, task_index)
        return HeadTask(folder.name, task_type, prefix_of(checkpoint.prefix), head, oracle)

    def encode(self, name: str, task: HeadTask, prompt: Sequence[int]) -> None:
        request = Request(name, task.name, tuple(prompt), Encode(task.head), task.prefix)
        check_request(request, self.engine._options)
        self.engine.add(request, self.answers.setdefault(name, []).append)

    def generate(self, name: str, task: HeadTask, prompt: Sequence[int], num_tokens: int) -> None:
        """Generate text behind the same prefix, as a task of another kind would."""
        sampling = SamplingParams(max_tokens=num_tokens, temperature=0.0)
        request = Request(name, "texts", tuple(prompt), Generate(sampling), task.prefix)
        self.engine.add(request, self.answers.setdefault(name, []).append)

    def run(self) -> None:
        while self.engine.has_work:
            self.engine.step()

    def encoded(self, name: str) -> Encoded:
        (event,) = self.answers[name]
        assert isinstance(event, Encoded), event
        return event


def check_mixed(bench: Bench, tasks: Sequence[HeadTask], manifests: Sequence[Manifest]) -> None:
    """Requests of all tasks, of which some share text, between others that generate."""
    rng = random.Random(0)
    shared = [rng.randrange(1, VOCAB_SIZE) for _ in range(13)]
    prompts = [[7], [*shared, 9], [*shared[:9], *(rng.randrange(1, VOCAB_SIZE) for _ in range(8))], [5, 6, PAD, PAD]]
    for repeat in range(2):
        for task in tasks:
            for index, prompt in enumerate(prompts):
                bench.encode(f"{task.name}/{index}/{repeat}", task, prompt)
            bench.generate(f"{task.name}/text/{repeat}", task, prompts[1], 24)
        for _ in range(9 * (1 - repeat)):
            bench.engine.step()
    bench.run()
    for task, manifest in zip(tasks, manifests, strict=True):
        for index, prompt in enumerate(prompts):
            expected = task.expected(prompt, manifest)
            for repeat in range(2):
                found = torch.from_numpy(bench.encoded(f"{task.name}/{index}/{repeat}").values)
                assert found.shape == expected.shape
                assert float((found - expected).abs().max()) < TOLERANCE, (task.name, index)
    assert bench.engine.stats.num_preemptions > 0
    assert bench.engine.stats.num_leases == 0


def check_heads(bench: Bench, pairs: Sequence[tuple[str, TaskType]]) -> None:
    """One task for each prompt type and task type, all in one crowded batch. Raises `AssertionError`."""
    tasks = [bench.task(kind, task_type, seed=seed) for seed, (kind, task_type) in enumerate(pairs)]
    check_mixed(bench, tasks, [Manifest()] * len(tasks))
    of_last_row = [task.name for task in tasks if task.head.rows is Rows.LAST]
    encoded = [name for name in bench.answers if name.split("/")[0] in of_last_row and "text" not in name]
    assert not of_last_row or sum(bench.encoded(name).num_cached_tokens for name in encoded) > 0


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_a_classifier_in_a_crowded_batch_equals_peft_alone(architecture: str, tmp_path: Path) -> None:
    """Text that ends with padding is read as PEFT reads it: skipped behind keys and values, and only there."""
    check_heads(Bench(tmp_path, build(architecture)), [(kind, SEQ_CLS) for kind in KINDS])


def test_every_task_type_in_a_crowded_batch_equals_peft_alone(tmp_path: Path) -> None:
    """Each prompt type that PEFT runs with it: eighteen tasks at once, between others that generate."""
    pairs = [(kind, task_type) for kind in KINDS for task_type in (SEQ_CLS, *OTHERS) if runs(kind, task_type)]
    check_heads(Bench(tmp_path, build("gpt2")), pairs)


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_every_row_of_a_crowded_batch_equals_pefts(kind: str, tmp_path: Path) -> None:
    """Token labels, the ends of answers, and the mean of the text."""
    bench = Bench(tmp_path, build("gpt2"))
    manifests = [Manifest(), Manifest(), Manifest(pooling="mean")]  # type: ignore[arg-type]
    tasks = [bench.task(kind, task, manifest) for task, manifest in zip(OTHERS, manifests, strict=True)]
    check_mixed(bench, tasks, manifests)


def test_the_features_of_the_last_token_are_pefts(tmp_path: Path) -> None:
    """The default of a decoder."""
    bench = Bench(tmp_path, build("gpt2"))
    task = bench.task("prompt", TaskType.FEATURE_EXTRACTION)
    bench.encode("one", task, [3, 4, 5])
    bench.run()
    found = torch.from_numpy(bench.encoded("one").values)
    torch.testing.assert_close(found, task.expected([3, 4, 5], Manifest()), rtol=0, atol=TOLERANCE)


def test_a_head_that_overflows_fails_its_own_request_alone(tmp_path: Path) -> None:
    """The others of the batch have their answers, and nothing is left behind."""
    bench = Bench(tmp_path, build("gpt2"))
    task = bench.task("prompt", SEQ_CLS)
    overflowing = copy.deepcopy(task.head)
    assert isinstance(overflowing, ClassHead)
    for parameter in overflowing._model.parameters():
        parameter.data.fill_(3e38)
    bad = HeadTask("bad", SEQ_CLS, task.prefix, overflowing, task.oracle)
    bench.encode("bad", bad, [3, 4, 5])
    bench.encode("good", task, [3, 4, 5])
    bench.run()
    (failed,) = bench.answers["bad"]
    assert isinstance(failed, RequestFailed)
    assert isinstance(failed.cause, NumbersOverflow)
    found = torch.from_numpy(bench.encoded("good").values)
    torch.testing.assert_close(found, task.expected([3, 4, 5], Manifest()), rtol=0, atol=TOLERANCE)
    assert (bench.engine.stats.num_failed, bench.engine.stats.num_leases) == (1, 0)


def test_an_encode_request_can_be_aborted(tmp_path: Path) -> None:
    """Between two chunks of its prompt; its blocks and its lease come back."""
    bench = Bench(tmp_path, build("gpt2"))
    task = bench.task("prompt", TaskType.TOKEN_CLS)
    bench.encode("long", task, list(range(1, 40)))
    bench.engine.step()
    bench.engine.abort("long")
    bench.run()
    assert bench.answers["long"] == [RequestFinished()]
    assert (bench.engine.stats.num_aborted, bench.engine.stats.num_leases) == (1, 0)


def test_rows_of_logits_are_those_of_generating_requests_alone(tmp_path: Path) -> None:
    """A head on every row of a text asks the vocabulary's matrix for none, so their limit holds whatever its length."""
    bench = Bench(tmp_path, build("gpt2"))
    task = bench.task("prompt", TaskType.TOKEN_CLS)
    shapes: list[int] = []
    bench.loaded.model.get_output_embeddings().register_forward_hook(
        lambda _, __, logits: shapes.append(logits.shape[1])
    )
    bench.encode("tokens", task, list(range(1, 40)))
    bench.run()
    assert len(bench.encoded("tokens").values) == 39
    assert max(shapes) == 1  # a model call without any row is not supported everywhere
