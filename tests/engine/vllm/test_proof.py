"""The proof at start, over backends that keep a soft prompt well and badly."""

from __future__ import annotations

import math

import pytest

from server.engine.vllm.backend import Output
from server.engine.vllm.proof import prove
from server.model.errors import SelfProofFailed
from tests.engine.vllm.scripted_backend import FACTS

KEY = "k" * 32


class Backend:
    """Answers by the sum of the rows that it knows of a request. `error` is added behind a captured soft prompt."""

    facts = FACTS

    def __init__(self, error: float = 0.0, refuses: bool = False) -> None:
        self.error = error
        self.refuses = refuses
        self.rows: dict[str, float] = {}

    async def embed(self, token_ids):
        import torch

        return torch.tensor([[float(token), -1.0] for token in token_ids])

    async def generate(self, request_id, inputs):
        prompt = inputs.prompt
        transfer = inputs.sampling.get("extra_args", {}).get("kv_transfer_params", {})
        if "prompt_embeds" in prompt:
            value = float(prompt["prompt_embeds"].sum())
            if "soft_prompt_capture" in transfer:
                self.rows[transfer["soft_prompt_capture"]] = value
        elif self.refuses:
            yield Output(finish_reason="error")
            return
        else:
            text = prompt["prompt_token_ids"][transfer["num_virtual_tokens"] :]
            value = self.rows[transfer["soft_prompt"]] + sum(text) - len(text) + self.error
        yield Output((1,), ({1: (value, 1), 2: (value - 1, 2)},), finish_reason="length")


async def test_an_engine_that_agrees_passes(tmp_path):
    """What was found is told: nothing between captured and given rows, something between two soft prompts."""
    proof = await prove(Backend(), KEY, tmp_path, 10_000)
    assert proof.captured == pytest.approx(0.0, abs=1e-4)
    assert proof.apart > 0.1
    assert "differ by" in str(proof)


@pytest.mark.parametrize("error", [0.01, -3.0, math.nan])
async def test_an_engine_that_disagrees_is_refused(tmp_path, error):
    """In one sentence that names both differences."""
    with pytest.raises(SelfProofFailed, match="cannot be served with --engine vllm"):
        await prove(Backend(error), KEY, tmp_path, 10_000)


async def test_an_engine_that_refuses_the_proof_is_refused(tmp_path):
    """Also in one sentence."""
    with pytest.raises(SelfProofFailed, match="refused"):
        await prove(Backend(refuses=True), KEY, tmp_path, 10_000)
