"""The contract of the port, on vLLM itself: `AsyncLLM`, with its engine and worker in processes of their own."""

from __future__ import annotations

import os

import pytest
import torch

from server.engine.vllm.engine import VllmEngine
from server.engine.vllm.engine_args import engine_args
from server.engine.vllm.options import VllmOptions
from server.engine.vllm.proof import prove
from server.model.prefix import Prefix, PrefixKind
from softprompt_vllm.requests import new_capture_key, transfer_config
from tests.engine.contract import EngineContract, Subject
from tests.engine.observing import Begun
from tests.engine.structured_contract import StructuredContract
from tests.vllm.environment import WITHOUT_COMPILER
from tests.vllm.worlds import VOCAB, digest_of, make_world

EOS, HIDDEN_SIZE, NUM_LAYERS, NUM_KV_HEADS, HEAD_DIM = 2, 128, 3, 2, 32
MAX_CONTEXT, MAX_OPEN, MAX_PREFIX_BYTES = 256, 40, 20 * 49_152


class Shared:
    """One backend for all tests: closing an engine does not end it."""

    def __init__(self, backend, key, folder):
        self.backend, self.key, self.folder = backend, key, folder

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def close(self):
        """The session does it."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """vLLM over a tiny Llama, with room for twenty soft prompts of one block."""
    os.environ.update(WITHOUT_COMPILER)
    from server.engine.vllm.start import VllmBackend

    folder = tmp_path_factory.mktemp("contract")
    world, key = make_world("llama", folder, ()), new_capture_key()
    own = {"model": str(world.model), "dtype": "float32", "max_model_len": MAX_CONTEXT, "max_num_seqs": 8}
    own |= {"block_size": 32, "num_gpu_blocks_override": 60, "max_num_batched_tokens": 64, "max_logprobs": 20}
    transfer = transfer_config(world.files, capture_key=key, max_host_bytes=MAX_PREFIX_BYTES, front_end_pid=os.getpid())
    backend = VllmBackend(engine_args(own, transfer, {"enforce_eager": True}))
    yield Shared(backend, key, world.files)
    backend.close()


def make_prefix(number, num_virtual_tokens):
    """Seeded random rows, as large as the embeddings of the model."""
    generator = torch.Generator().manual_seed(number)
    rows = torch.randn(num_virtual_tokens, HIDDEN_SIZE, generator=generator)
    return Prefix(digest_of("rows", number, num_virtual_tokens), PrefixKind.EMBEDDINGS, rows)


def make_key_values(number, num_virtual_tokens):
    """Seeded random keys and values."""
    generator = torch.Generator().manual_seed(1000 + number)
    shape = (num_virtual_tokens, 2 * NUM_LAYERS, NUM_KV_HEADS, HEAD_DIM)
    tensor = torch.randn(shape, generator=generator)
    return Prefix(digest_of("key values", number, num_virtual_tokens), PrefixKind.KEY_VALUES, tensor)


class TestVllm(EngineContract, StructuredContract):
    """The suite."""

    @pytest.fixture
    async def subject(self, shared):
        """An engine of its own over the one vLLM."""
        options = VllmOptions(
            shared.facts,
            frozenset({EOS}),
            max_num_seqs=8,
            max_open_requests=MAX_OPEN,
            max_prefix_bytes=MAX_PREFIX_BYTES,
        )
        observer = Begun()
        engine = VllmEngine(shared, options, shared.key, shared.folder, observers=[observer])
        async with engine.running():
            yield Subject(
                engine,
                VOCAB,
                EOS,
                make_prefix,
                make_key_values,
                max_context=MAX_CONTEXT,
                max_open_requests=MAX_OPEN,
                tolerance=1e-4,
                observed=observer.ids,
            )

    async def test_the_proof_at_start_passes(self, shared, tmp_path):
        """Captured soft prompts agree with their rows, and soft prompts are told apart."""
        proof = await prove(shared, shared.key, shared.folder, MAX_PREFIX_BYTES)
        print(proof)
        assert proof.captured < 1e-3 < proof.apart

    def test_the_facts_are_the_models(self, shared):
        """Sizes of the model and of the connector's blocks."""
        facts = shared.facts
        assert (facts.max_context, facts.vocab_size, facts.hidden_size) == (MAX_CONTEXT, VOCAB, HIDDEN_SIZE)
        assert (facts.num_layers, facts.num_kv_heads, facts.head_dim) == (NUM_LAYERS, NUM_KV_HEADS, HEAD_DIM)
        assert (facts.num_blocks, facts.prefix_bytes(33)) == (60, 2 * 49_152)
