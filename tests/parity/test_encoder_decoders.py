"""Encoder-decoders against PEFT itself: every prompt type and the bare base, all mixed in one crowded batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig, PreTrainedModel

from prompts_store.errors import ShapeMismatch
from server.engine.events import EngineEvent, RequestFinished, Scored, TokenEvent
from server.engine.paged.engine import Engine
from server.engine.paged.options import check_request
from server.engine.request import Generate, Kind, Request, SamplingParams, Score
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model
from server.model.prefix import Prefix
from server.model.self_proof import prove
from tests.devices import NAME
from tests.parity.architectures import MAX_CONTEXT, VOCAB_SIZE, build_from
from tests.parity.encoder_decoders import BART_SIZES, ENCODER_DECODERS, build_encoder_decoder
from tests.parity.oracle import OracleAnswer, PeftOracle
from tests.parity.test_peft_parity import NUM_NEW, TOLERANCE, check_answer, crowded_engine, make_tasks

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

KINDS = ("prompt", "p", "multitask", "prefix", "cartridge")
SAMPLING = SamplingParams(max_tokens=NUM_NEW, temperature=0.0, num_logprobs=VOCAB_SIZE)


def stock_answer(model: PreTrainedModel, prompt: Sequence[int]) -> OracleAnswer:
    """The base model's own greedy `generate`."""
    output = model.generate(
        input_ids=torch.tensor([list(prompt)]),
        do_sample=False,
        num_beams=1,
        max_new_tokens=NUM_NEW,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return OracleAnswer(tuple(output.sequences[0, 1:].tolist()), torch.cat(output.logits))


class Crowd:
    """Requests that run together, and their events by name."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: dict[str, list[EngineEvent]] = {}

    def add(self, name: str, task: str, prompt: Sequence[int], kind: Kind, prefix: Prefix | None) -> None:
        request = Request(name, task, tuple(prompt), kind, prefix)
        check_request(request, self.engine._options)
        self.engine.add(request, self.events.setdefault(name, []).append)

    def run(self) -> None:
        while self.engine.has_work:
            self.engine.step()

    def choice(self, name: str, number: int) -> list[EngineEvent]:
        return [one for one in self.events[name] if isinstance(one, TokenEvent) and one.choice == number]


def given_tokens(loaded: LoadedModel, answer: OracleAnswer) -> int:
    """Tokens of an answer that are forced at its begin."""
    assert loaded.decoding is not None
    return len(loaded.decoding.given) - 1


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_mixed_and_crowded_equals_peft_alone(name: str, tmp_path: Path) -> None:
    """Greedy tokens, all log-probabilities and label scores equal those of PEFT's `generate`, one request at a time.

    Our side runs all types and the bare base together, with forks, inputs longer than a step, evicted prefixes and
    preemption.
    """
    check_encoder_decoder(build_encoder_decoder(name), tmp_path, KINDS)


def check_encoder_decoder(model: PreTrainedModel, folder: Path, kinds: Sequence[str]) -> None:
    """See the test. Raises `AssertionError`, and `ModelError` where the model is not served."""
    model.save_pretrained(str(folder / "base"))
    options = BaseModelOptions(str(folder / "base"), device=NAME, dtype="float32", max_context=MAX_CONTEXT)
    loaded = load_base_model(options)
    model = AutoModelForSeq2SeqLM.from_pretrained(str(folder / "base")).eval()  # sinusoids are made, and never saved
    assert prove(loaded, choose_backend(loaded.device)).disagreement < 1e-4
    tasks = make_tasks(folder, model, loaded, kinds)
    rng = random.Random(0)
    prompts = [[rng.randrange(1, VOCAB_SIZE) for _ in range(length)] for length in (1, 14, 27)]
    expected = {("", number): stock_answer(model, prompt) for number, prompt in enumerate(prompts)}
    for task in tasks:
        expected |= {
            (task.name, number): task.oracle.generate(prompt, NUM_NEW) for number, prompt in enumerate(prompts)
        }
    prefixes = {"": None} | {task.name: task.prefix for task in tasks}
    crowd = Crowd(crowded_engine(loaded))
    for (task_name, number), answer in expected.items():
        first = given_tokens(loaded, answer)
        kinds_of = {
            "alone": Generate(SAMPLING),
            "forked": Generate(SAMPLING, num_choices=2),
            "scored": Score((answer.tokens[first : first + 3], answer.tokens[first : first + 1])),
        }
        for kind_name, kind in kinds_of.items():
            prefix = prefixes[task_name]
            crowd.add(f"{task_name}/{number}/{kind_name}", task_name, prompts[number], kind, prefix)
    crowd.run()
    for (task_name, number), answer in expected.items():
        label, first = f"{task_name}/{number}", given_tokens(loaded, answer)
        check_answer(crowd.choice(f"{label}/alone", 0), answer, label)
        for choice in range(2):
            check_answer(crowd.choice(f"{label}/forked", choice), answer, label)
        (scored,) = crowd.events[f"{label}/scored"]
        assert isinstance(scored, Scored)
        steps = answer.logits[first : first + 3].log_softmax(-1)
        logprobs = steps.gather(1, torch.tensor(answer.tokens[first : first + 3])[:, None])[:, 0]
        wanted = torch.stack([logprobs.sum(), logprobs[0]])
        assert float((torch.tensor(scored.logprobs) - wanted).abs().max()) < 3 * TOLERANCE, label
    stats = crowd.engine.stats
    assert stats.num_preemptions > 0
    assert stats.num_leases == 0 and stats.num_free_blocks == stats.num_blocks - stats.num_prefix_blocks


def test_a_decoder_deeper_than_its_encoder(tmp_path: Path) -> None:
    """PEFT runs prompts of embeddings on it; for keys and values it has too few layers, and fails too."""
    model = build_from(BartConfig(**BART_SIZES | {"decoder_layers": 3}), AutoModelForSeq2SeqLM)
    check_encoder_decoder(model, tmp_path / "embeddings", ("prompt", "p", "multitask"))
    loaded = load_base_model(BaseModelOptions(str(tmp_path / "embeddings" / "base"), device=NAME, dtype="float32"))
    with pytest.raises(ShapeMismatch, match="for 2 layers, those of the encoder, and cannot run them on the 3 layers"):
        make_tasks(tmp_path, model, loaded, ["prefix"])
    with pytest.raises(IndexError):
        PeftOracle(tmp_path / "prefix", model, None).generate([3, 4, 5], NUM_NEW)


def test_an_input_longer_than_a_step_runs_whole(tmp_path: Path) -> None:
    """Attention runs both ways, so an encoder's input is never cut into chunks; a step computes it alone."""
    model = build_encoder_decoder("t5")
    model.save_pretrained(str(tmp_path))
    loaded = load_base_model(BaseModelOptions(str(tmp_path), device=NAME, dtype="float32", max_context=MAX_CONTEXT))
    crowd = Crowd(crowded_engine(loaded))
    prompt = [1 + number % (VOCAB_SIZE - 1) for number in range(60)]
    for name in ("a", "b"):
        crowd.add(name, name, prompt, Generate(SAMPLING), None)
    crowd.engine.step()
    assert crowd.engine.stats.num_running == 1, "two inputs of more than a step were planned together"
    crowd.run()
    for name in ("a", "b"):
        check_answer(crowd.choice(name, 0), stock_answer(model, prompt), name)
        assert isinstance(crowd.events[name][-1], RequestFinished)
