"""A GGUF file as the base model of every command: tuned, published for, evaluated, refused in one line."""

from __future__ import annotations

import json

import pytest
import torch
from starlette.testclient import TestClient
from transformers import AutoModelForCausalLM

from server.app import build_services, create_app
from server.model.gguf.base_file import transformers_source
from server.settings import ServeSettings
from server.tokenizer.tokenizer import Tokenizer
from tests.fakes.gguf_files import write_gguf

ROWS = [
    {"text": f"{word} {number}", "label": label} for number in range(6) for word, label in (("a", "y"), ("on", "n"))
]
QUICK = ("--steps", 2, "--batch-size", 4, "--virtual-tokens", 3, "--validate-every", 2)


@pytest.fixture
def file(tmp_path):
    return write_gguf(tmp_path / "tiny.gguf")


@pytest.fixture
def examples(tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def serving(file, data_dir):
    settings = ServeSettings(base_model=str(file), data_dir=data_dir, device="cpu")
    return TestClient(create_app(build_services(settings)), base_url="http://localhost")


def test_a_soft_prompt_is_tuned_published_again_and_served(softprompt, file, examples, data_dir, tmp_path):
    """The version is the file's; the checkpoint names the base model by the name in the file."""
    place = ("--base-model", file, "--data-dir", data_dir)
    folder = tmp_path / "saved"
    code, out, err = softprompt("tune", "mood", "--train", examples, "--save", folder, "--json", *place, *QUICK)
    assert code == 0, err
    assert json.loads(out)["version"] == 1
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "Tiny-Model-v1"
    code, out, err = softprompt("task", "publish", folder, "--task", "again", "--json", *place)
    assert code == 0, err
    code, out, err = softprompt("evaluate", "mood", examples, "--json", *place)
    assert code == 0, err
    with serving(file, data_dir) as client:
        models = [model["id"] for model in client.get("/v1/models").json()["data"]]
        assert models[0] == "Tiny-Model-v1"
        assert "mood" in models
        body = {"prompt": "a the", "max_tokens": 4, "temperature": 0}
        bodies = [{**body, "model": model} for model in ("mood", "again")]
        answers = [client.post("/v1/completions", json=body).json()["choices"][0]["text"] for body in bodies]
        assert answers[0] == answers[1]


def test_chat_over_http_is_transformers_own_greedy_answer(file, data_dir):
    """The file's chat template, and the tokens of the model that transformers dequantises."""
    tokenizer = Tokenizer.load(file)
    prompt = tokenizer.encode("user: on the\nassistant: ")
    with transformers_source(str(file)) as (folder, gguf):
        oracle = AutoModelForCausalLM.from_pretrained(folder, **gguf)
    expected = oracle.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=8, eos_token_id=[1, 2])
    with serving(file, data_dir) as client:
        answer = client.post(
            "/v1/chat/completions",
            json={
                "model": "Tiny-Model-v1",
                "messages": [{"role": "user", "content": "on the"}],
                "max_tokens": 8,
                "temperature": 0,
            },
        ).json()
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert answer["choices"][0]["message"]["content"] == tokenizer.decode(expected[0, len(prompt) :].tolist())


@pytest.mark.parametrize("command", ["serve", "tune", "evaluate", "publish"])
@pytest.mark.parametrize("fault", ["missing", "cut", "no GGUF"])
def test_a_file_that_cannot_be_used_is_one_line(softprompt, file, examples, data_dir, command, fault):
    """Whatever command loads it, and nothing is published or kept."""
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9] if fault == "cut" else b"not this")
    arguments = {
        "serve": ("serve", "--port", 0, "--log-level", "error"),
        "tune": ("tune", "mood", "--train", examples),
        "evaluate": ("evaluate", "mood", examples),
        "publish": ("task", "publish", file.parent),
    }[command]
    code, out, err = softprompt(*arguments, "--base-model", file, "--data-dir", data_dir)
    assert (code, out) == (1, "")
    said = {"missing": "there is no file", "cut": "ends at byte", "no GGUF": "does not begin as a GGUF file does"}
    assert said[fault] in err.splitlines()[-1]
    assert "Traceback" not in err
