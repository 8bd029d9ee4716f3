"""The engine against PEFT itself: every prompt type, every architecture, all mixed in one crowded batch."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseKind, BaseModel, ParsedCheckpoint
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.engine.events import EngineEvent, PromptProcessed, TokenEvent
from server.engine.paged.engine import Engine
from server.engine.paged.options import EngineOptions, check_request
from server.engine.request import Generate, Request, SamplingParams
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model
from server.model.gpu.decode_graphs import usual_sizes
from server.model.gpu.recorder import record_decodes
from server.model.kv_cache import KVCache
from server.model.native_decode import native_decodes
from server.model.prefix import Prefix, prefix_of
from server.model.runner import ModelRunner
from server.model.self_proof import prove
from server.model.serving_runner import build_runner
from tests.devices import IS_CPU, NAME
from tests.parity.architectures import CONFIGS, MAX_CONTEXT, REFUSED_BY_PEFT, VOCAB_SIZE, build
from tests.parity.oracle import KINDS, OracleAnswer, PeftOracle, save_checkpoint

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # PEFT's way of saying that positions count from the first virtual token, as ours do.
    pytest.mark.filterwarnings("ignore:Position ids are not supported for parameter efficient tuning:UserWarning"),
]

BLOCK_SIZE = 4
NUM_NEW = 10
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Task:
    """A prefix as our reader and resolver make it from PEFT's files, and PEFT's own answer to any prompt."""

    name: str
    prefix: Prefix
    oracle: PeftOracle


def make_tasks(folder: Path, model: PreTrainedModel, loaded: LoadedModel, kinds: Sequence[str]) -> list[Task]:
    tasks = []
    for seed, kind in enumerate(kinds):
        save_checkpoint(folder / kind, model, kind, seed)
        for task_index in (0, 1) if kind == "multitask" else (None,):
            tasks.append(read_task(folder / kind, model, loaded, task_index))
    return tasks


def read_task(folder: Path, model: PreTrainedModel, loaded: LoadedModel, task_index: int | None) -> Task:
    checkpoint = read_files(folder, loaded, task_index)
    return Task(f"{folder.name}-{task_index}", prefix_of(checkpoint.prefix), PeftOracle(folder, model, task_index))


def read_files(folder: Path, loaded: LoadedModel, task_index: int | None) -> ParsedCheckpoint:
    sizes = loaded.architecture
    return read_checkpoint(
        (folder / "adapter_config.json").read_bytes(),
        (folder / "adapter_model.safetensors").read_bytes(),
        BaseModel(
            "f",
            (),
            sizes.hidden_size,
            sizes.num_layers,
            *(sizes.uniform_kv or (None, None)),
            MAX_CONTEXT,
            "float32",
            sizes.num_attention_heads,
            BaseKind.DECODER if loaded.decoding is None else BaseKind.ENCODER_DECODER,
            num_encoder_layers=sizes.num_encoder_layers,
        ),
        task_index=task_index,
        allow_base_mismatch=True,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )


def crowded_engine(loaded: LoadedModel) -> Engine:
    """A cache of 40 blocks for some 200 blocks of work, prompts cut into chunks, six sequences at once."""
    options = EngineOptions(
        num_blocks=41,
        block_size=BLOCK_SIZE,
        max_prefix_blocks=8,
        max_num_seqs=6,
        max_batch_tokens=9,
        max_open_requests=1000,
        max_context=MAX_CONTEXT,
        vocab_size=VOCAB_SIZE,
        eos_token_ids=frozenset(),
        fair_quantum=32,
        decoding=loaded.decoding,
        max_encoder_positions=loaded.architecture.max_encoder_positions or 0,
    )
    if loaded.decoding is not None:
        runner = build_runner(loaded, choose_backend(loaded.device), options.num_blocks, BLOCK_SIZE, 6)
        return Engine(runner, options)
    # As it serves: decode steps in a native call, or on a GPU recorded, their padding in a block more.
    cache = KVCache(loaded.architecture.layers, options.num_blocks + 1, BLOCK_SIZE, loaded.dtype, loaded.device)
    attention = choose_backend(loaded.device)
    if IS_CPU:
        return Engine(ModelRunner(loaded, cache, attention, native_decodes(loaded, cache, attention)), options)
    recorded = record_decodes(loaded, cache, attention, usual_sizes(options.max_num_seqs))
    return Engine(ModelRunner(loaded, cache, attention, recorded), options)


def check_answer(events: list[EngineEvent], expected: OracleAnswer, label: str) -> None:
    tokens = [event for event in events if isinstance(event, TokenEvent)]
    assert tuple(event.token_id for event in tokens) == expected.tokens, label
    for event, logits in zip(tokens, expected.logits, strict=True):
        assert event.logprob is not None
        ours = torch.empty(VOCAB_SIZE)
        for token_id, logprob in event.logprob.top:
            ours[token_id] = logprob
        assert float((ours - logits.log_softmax(-1)).abs().max()) < TOLERANCE, label


@pytest.mark.parametrize("architecture", CONFIGS)
def test_mixed_and_crowded_equals_peft_alone(architecture: str, tmp_path: Path) -> None:
    """Greedy tokens and all log-probabilities equal PEFT's unpadded `generate`, one request at a time.

    Our side runs all six types together with chunked prefill, prefix-cache hits, evicted prefixes and preemption.
    """
    refused = REFUSED_BY_PEFT.get(architecture, {})
    check_mixed_and_crowded(build(architecture), tmp_path, [kind for kind in KINDS if kind not in refused])


def check_mixed_and_crowded(model: PreTrainedModel, folder: Path, kinds: Sequence[str]) -> None:
    """See the test. Raises `AssertionError`, and `ModelError` where the model is not served."""
    model.save_pretrained(str(folder / "base"))
    options = BaseModelOptions(str(folder / "base"), device=NAME, dtype="float32", max_context=MAX_CONTEXT)
    loaded = load_base_model(options)
    assert prove(loaded, choose_backend(loaded.device)).disagreement < 1e-4
    tasks = make_tasks(folder, model, loaded, kinds)
    rng = random.Random(0)
    shared_text = [rng.randrange(VOCAB_SIZE) for _ in range(13)]
    prompts = [
        [rng.randrange(VOCAB_SIZE)],
        [*shared_text, rng.randrange(VOCAB_SIZE)],
        [*shared_text[:9], *(rng.randrange(VOCAB_SIZE) for _ in range(8))],
    ]
    engine = crowded_engine(loaded)
    answers: dict[str, list[EngineEvent]] = {}
    sampling = SamplingParams(max_tokens=NUM_NEW, temperature=0.0, num_logprobs=VOCAB_SIZE)
    for task in tasks:
        for index, prompt in enumerate(prompts):
            for repeat in range(2):
                name = f"{task.name}/{index}/{repeat}"
                request = Request(name, task.name, tuple(prompt), Generate(sampling), task.prefix)
                check_request(request, engine._options)
                engine.add(request, answers.setdefault(name, []).append)
    while engine.has_work:
        engine.step()
    for task in tasks:
        for index, prompt in enumerate(prompts):
            expected = task.oracle.generate(prompt, NUM_NEW)
            for repeat in range(2):
                name = f"{task.name}/{index}/{repeat}"
                check_answer(answers[name], expected, name)
    assert engine.stats.num_preemptions > 0
    assert engine.stats.num_prefix_loads > len(tasks), "prefixes were meant to be evicted and computed again"
    cached = [
        event.num_cached_tokens
        for events in answers.values()
        for event in events[:1]
        if isinstance(event, PromptProcessed)
    ]
    assert sum(cached) > 0
    assert engine.stats.num_leases == 0


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [(architecture, kind) for architecture, kinds in REFUSED_BY_PEFT.items() for kind in kinds],
)
def test_what_peft_cannot_run_it_still_cannot(architecture: str, kind: str, tmp_path: Path) -> None:
    """The table of what is served names PEFT's error for these."""
    model = build(architecture)
    with pytest.raises((RuntimeError, ValueError), match=REFUSED_BY_PEFT[architecture][kind]):
        save_checkpoint(tmp_path, model, kind, seed=0)
        PeftOracle(tmp_path, model, None).generate([1, 2, 3], 2)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("kind", ["prefix", "cartridge", "cpt"])
def test_numbers_that_peft_overwrites_change_no_answer(kind: str, architecture: str, tmp_path: Path) -> None:
    """Width and heads of the whole model, on a base with grouped queries; for CPT also another number of layers."""
    model = build(architecture)
    model.save_pretrained(str(tmp_path / "base"))
    loaded = load_base_model(BaseModelOptions(str(tmp_path / "base"), device=NAME, dtype="float32"))
    save_checkpoint(tmp_path / kind, model, kind, seed=0)
    file = tmp_path / kind / "adapter_config.json"
    written = json.loads(file.read_text())
    numbers = {"num_attention_heads": model.config.num_attention_heads, "token_dim": model.config.hidden_size}
    if kind == "cpt":
        numbers = {"num_attention_heads": 3, "token_dim": 7, "num_layers": 5}
    assert written["num_attention_heads"] != numbers["num_attention_heads"]
    file.write_text(json.dumps(written | numbers))
    task = read_task(tmp_path / kind, model, loaded, None)
    engine, events = crowded_engine(loaded), list[EngineEvent]()
    sampling = SamplingParams(max_tokens=NUM_NEW, temperature=0.0, num_logprobs=VOCAB_SIZE)
    engine.add(Request("r", task.name, (5, 9, 2), Generate(sampling), task.prefix), events.append)
    while engine.has_work:
        engine.step()
    check_answer(events, task.oracle.generate((5, 9, 2), NUM_NEW), kind)
