"""Keys and values for other engines: transformers goes on from them as PEFT does."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from server.model.base_model import BaseModelOptions, load_base_model
from server.model.key_values import key_values_of
from tests.parity.architectures import VOCAB_SIZE, build
from tests.parity.oracle import save_checkpoint
from tests.parity.test_peft_parity import read_task

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported for parameter efficient tuning:UserWarning"),
]
TEXT = [1, 2, VOCAB_SIZE - 1, 5]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma3", "gpt2", "opt"])
def test_transformers_goes_on_from_them_as_peft_does(tmp_path, architecture):
    """Of one soft prompt that is computed and one that is written as it is, also where windows are short."""
    model = build(architecture)
    model.save_pretrained(str(tmp_path / "base"))
    loaded = load_base_model(BaseModelOptions(str(tmp_path / "base"), device="cpu", dtype="float32"))
    for kind in ("prompt", "prefix"):
        save_checkpoint(tmp_path / kind, model, kind, seed=1)
        task = read_task(tmp_path / kind, model, loaded, None)
        cache = DynamicCache()
        for number, (key, value) in enumerate(key_values_of(loaded.model, task.prefix)):
            assert key.shape == value.shape == (task.prefix.num_virtual_tokens, *loaded.architecture.uniform_kv)
            cache.update(key.transpose(0, 1)[None], value.transpose(0, 1)[None], number)
        with torch.inference_mode():
            found = model(input_ids=torch.tensor([TEXT]), past_key_values=cache).logits[0, -1]
        torch.testing.assert_close(found, task.oracle.generate(TEXT, 1).logits[0], atol=1e-4, rtol=0)
