"""How much a tuning run adds to a process's memory, beside the weights that it shares with serving.

    python -m benchmarks.tuning_memory                                     135 million parameters, float32, Linux
    python -m benchmarks.tuning_memory --method PREFIX_TUNING --completion 400

Weights are random: memory does not depend on them. Growth is the peak of the resident set during the first pieces of a
run (validation micro-batches, then training ones), less the resident set before the run was built.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from benchmarks.resident_memory import MIB, peak_bytes, reset_peak
from prompts_store.manifest import Manifest
from server.demo import BASE_DIR
from server.model.architecture import read_architecture
from server.model.attention import ATTENTION_NAME, register_attention
from server.model.base_model import LoadedModel
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.examples import read_examples
from server.tuning.job import TuningJob
from server.tuning.plan import Method, TuningPlan
from server.tuning.run import TuningRun
from server.tuning.split import tuning_data


def shape_135m() -> LlamaConfig:
    """The shape of SmolLM2-135M."""
    return LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )


def main() -> None:
    """Load, compute a few pieces, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="PROMPT_TUNING", choices=list(Method))
    parser.add_argument("--pieces", type=int, default=4, help="micro-batches to compute")
    parser.add_argument("--prompt", type=int, default=180, help="tokens of a prompt, about")
    parser.add_argument("--completion", type=int, default=60, help="tokens of a completion, about")
    parser.add_argument("--micro-batch-tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    register_attention()
    torch.manual_seed(0)
    build: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config
    model = build(shape_135m(), dtype=torch.float32, attn_implementation=ATTENTION_NAME)
    model.requires_grad_(False).train(False)
    loaded = LoadedModel(model, read_architecture(model), torch.float32, torch.device("cpu"), frozenset())
    tokenizer = Tokenizer.load(BASE_DIR)
    job = _job(tokenizer, given)
    model_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    before = reset_peak()
    run = TuningRun(loaded, tokenizer, job)
    began = time.monotonic()
    for _ in range(given.pieces):
        run.advance()
    growth = peak_bytes() - before
    print(
        json.dumps(
            {
                "method": given.method,
                "model_mib": round(model_bytes / MIB, 1),
                "growth_mib": round(growth / MIB, 1),
                "growth_share": round(growth / model_bytes, 3),
                "longest_example_tokens": max(example.num_tokens for example in run._training),
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )


def _job(tokenizer: Tokenizer, given: argparse.Namespace) -> TuningJob:
    """Digits: each is a token of the demo's tokenizer, so that lengths are known."""
    rng = random.Random(0)

    def digits(count: int) -> str:
        return "".join(rng.choices("0123456789", k=max(1, count - rng.randrange(1 + count // 4))))

    rows = [{"prompt": digits(given.prompt), "completion": digits(given.completion)} for _ in range(40)]
    data = tuning_data(read_examples("\n".join(map(json.dumps, rows)).encode()))
    plan = TuningPlan(
        method=Method(given.method),
        num_steps=10,
        batch_size=8,
        max_micro_batch_tokens=given.micro_batch_tokens,
        validate_every=10,
    )
    end = tokenizer.eos_token_id
    assert end is not None
    return TuningJob(plan, data, Manifest(template="{input}\n", add_special_tokens=False), "shape", end)


if __name__ == "__main__":
    main()
