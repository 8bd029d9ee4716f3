"""The sampling parameters of a base model's generation_config.json, as transformers reads it."""

from __future__ import annotations

import json

import pytest
from transformers import GenerationConfig

from server.demo import BASE_DIR
from server.model.sampling_defaults import sampling_defaults


@pytest.fixture
def found(tmp_path):
    """The defaults of a file with this content."""

    def read(**content):
        (tmp_path / "generation_config.json").write_text(json.dumps(content))
        return sampling_defaults(GenerationConfig.from_pretrained(tmp_path))

    return read


def test_what_the_file_sets_is_a_default(found):
    """Only parameters of sampling; what it does not set has none."""
    content = {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.05}
    assert found(**content, do_sample=True, max_new_tokens=7, eos_token_id=1) == content
    assert found(eos_token_id=1) == {}
    assert found(do_sample=True, top_p=1) == {"top_p": 1.0}


def test_a_model_that_does_not_sample_is_greedy(found):
    """Whatever temperature stands beside it."""
    assert found(do_sample=False, temperature=0.7) == {"temperature": 0.0}


def test_the_demo_model_has_none():
    """Its chats have the defaults that the API's documentation states."""
    assert sampling_defaults(GenerationConfig.from_pretrained(BASE_DIR)) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"), ("temperature", -0.5), ("temperature", True), ("temperature", 1e400), ("top_p", 1.5),
        ("top_k", 2.5), ("top_k", [1]), ("repetition_penalty", 0), ("repetition_penalty", float("nan")),
    ],
)  # fmt: skip
def test_a_value_that_no_request_may_have_is_left_out(found, caplog, name, value):
    """The server starts, and says which."""
    assert found(do_sample=True, min_p=0.5, **{name: value}) == {"min_p": 0.5}
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"ignored in part: {name} must be " in record.getMessage()


def test_a_base_model_without_a_configuration_has_no_defaults():
    """Nor one whose architecture cannot generate."""
    assert sampling_defaults(None) == {}
