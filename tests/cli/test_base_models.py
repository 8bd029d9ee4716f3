"""A base model that cannot be served is one line on standard error and exit code 1, whatever command loads it."""

from __future__ import annotations

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma4TextConfig, MambaConfig, OpenAIGPTConfig

from server.demo import BASE_DIR

CONFIGS = {
    "openai-gpt": lambda: OpenAIGPTConfig(vocab_size=61, n_embd=32, n_layer=2, n_head=4),
    "mamba": lambda: MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2),
    "gemma4_text": lambda: Gemma4TextConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=61,
    ),
}


@pytest.fixture
def examples(tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{number}", "completion": "x"}) + "\n" for number in range(4)))
    return path


@pytest.mark.parametrize(
    ("model_type", "command"), [("openai-gpt", "serve"), ("mamba", "tune"), ("gemma4_text", "evaluate")]
)
def test_what_cannot_be_served_is_one_line(softprompt, model_type, command, examples, data_dir, tmp_path):
    """With the reason, and without the name of an exception of a library."""
    AutoModelForCausalLM.from_config(CONFIGS[model_type]()).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(BASE_DIR).save_pretrained(str(tmp_path / "base"))
    arguments = {
        "serve": ("serve", "--port", 0, "--log-level", "error"),
        "tune": ("tune", "mood", "--train", examples),
        "evaluate": ("evaluate", "mood", examples),
    }[command]
    code, out, err = softprompt(*arguments, "--base-model", tmp_path / "base", "--data-dir", data_dir)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith(f"softprompt: {model_type} models cannot be served: ")
    assert "Traceback" not in err
