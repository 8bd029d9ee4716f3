"""What a run saves, PEFT loads, and PEFT's `generate` gives the server's greedy tokens."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from server.engine.events import TokenEvent
from server.engine.paged.engine import Engine
from server.engine.paged.options import EngineOptions
from server.engine.request import Generate, Request, SamplingParams
from server.model.attention_backend import choose_backend
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner
from server.model.twin import make_twin
from server.tuning.candidate import unpublished
from server.tuning.encoding import encode_prompt
from server.tuning.plan import Method, TuningPlan
from server.tuning.run import TuningRun
from tests.fakes.tokenizers import byte_level
from tests.tuning.tiny import MANIFEST, tiny_base, tiny_job, tiny_model

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # PEFT's way of saying that positions count from the first virtual token, as ours do.
    pytest.mark.filterwarnings("ignore:Position ids are not supported for parameter efficient tuning:UserWarning"),
]
NUM_NEW = 8


@pytest.mark.parametrize("method", Method)
def test_peft_generates_what_the_engine_serves(method, tmp_path):
    """Token for token, for each method, from the files that the run saved."""
    loaded, tokenizer = tiny_model(), byte_level()
    job = tiny_job(TuningPlan(method=method, num_steps=12, batch_size=8, num_virtual_tokens=5))
    run = TuningRun(loaded, tokenizer, job)
    while not run.is_done:
        run.advance()
    result = run.result()
    (tmp_path / "adapter_config.json").write_bytes(result.config)
    (tmp_path / "adapter_model.safetensors").write_bytes(result.tensors)
    peft = PeftModel.from_pretrained(copy.deepcopy(make_twin(loaded.model)), str(tmp_path)).eval()
    checkpoint = read_checkpoint(
        result.config,
        result.tensors,
        tiny_base(),
        task_index=None,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )
    prefix = unpublished("t", "t", checkpoint, MANIFEST, checkpoint.base).prefixes[0]

    options = EngineOptions(40, 8, 10, 4, 64, 10, 96, loaded.architecture.vocab_size, frozenset())
    cache = KVCache(loaded.architecture.layers, 40, 8, loaded.dtype, loaded.device)
    engine = Engine(ModelRunner(loaded, cache, choose_backend(loaded.device)), options)
    events: dict[int, list] = {}
    prompts = [encode_prompt(tokenizer, MANIFEST, example) for example in job.data.validation]
    for number, prompt in enumerate(prompts):
        request = Request(str(number), "t", prompt, Generate(SamplingParams(NUM_NEW, temperature=0)), prefix)
        engine.add(request, events.setdefault(number, []).append)
    while engine.has_work:
        engine.step()
    for number, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        theirs = peft.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NUM_NEW
        )
        ours = [event.token_id for event in events[number] if isinstance(event, TokenEvent)]
        assert ours == theirs[0, len(prompt) :].tolist()
