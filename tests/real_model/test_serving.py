"""A server of a real model, in every dtype: its answers beside transformers' own, chat, stop, tokens and text."""

from __future__ import annotations

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.devices import NAME
from tests.system.live_server import live_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Once upon a time, in a small village by the sea,",
    "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
]
NUM_NEW = 14
# A half-precision answer may take another token than transformers where the two best are equal but for so many of the
# dtype's steps.
NEAR_TIE_STEPS = 3


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(
    scope="module",
    params=["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.long)],
)
def client(request, folder, tmp_path_factory):
    """A client of a server in one dtype."""
    with (
        live_server(
            base_model=str(folder),
            dtype=request.param,
            data_dir=tmp_path_factory.mktemp("data"),
            num_kv_blocks=400,
            device=NAME,
        ) as server,
        httpx.Client(base_url=server.url, timeout=300) as client,
    ):
        client.dtype = request.param
        (client.model,) = [model["id"] for model in client.get("/v1/models").json()["data"]]
        yield client


@pytest.fixture(scope="module")
def stock(client, folder):
    """transformers' own model in the server's dtype."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, client.dtype)).eval().to(NAME)


def ask(client, path, **body):
    response = client.post(f"/v1/{path}", json={"model": client.model, **body})
    assert response.status_code == 200, response.text
    return response.json()


def complete(client, prompt, num_tokens=NUM_NEW):
    body = {"temperature": 0, "max_tokens": num_tokens, "return_token_ids": True}
    return ask(client, "completions", prompt=prompt, **body)["choices"]


def test_greedy_answers_are_those_of_transformers(client, stock, tokenizer):
    """In float32 token for token; in half precision each token is the best, or as good as, for the stock model."""
    choices = complete(client, PROMPTS)
    for prompt, choice in zip(PROMPTS, choices, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids.to(NAME)
        ours = choice["token_ids"]
        if client.dtype == "float32":
            mask = torch.ones_like(ids)
            with torch.inference_mode():
                whole = stock.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NUM_NEW)
            assert whole[0, ids.shape[1] :].tolist() == ours, prompt
            continue
        with torch.inference_mode():
            whole = torch.cat([ids, torch.tensor([ours], device=NAME)], dim=1)
            logits = stock(input_ids=whole).logits[0, ids.shape[1] - 1 : -1].float()
        taken = logits.gather(1, torch.tensor(ours, device=NAME)[:, None])[:, 0]
        best = logits.amax(1)
        steps = (best - taken) / (best.abs() * torch.finfo(stock.dtype).eps)
        assert float(steps.max()) <= NEAR_TIE_STEPS, prompt


def test_a_batch_answers_as_each_prompt_alone(client):
    """In float32 to the token; in half precision the first token, since near ties may end another way."""
    together = complete(client, PROMPTS, 8)
    for prompt, choice in zip(PROMPTS, together, strict=True):
        (alone,) = complete(client, prompt, 8)
        length = 8 if client.dtype == "float32" else 1
        assert alone["token_ids"][:length] == choice["token_ids"][:length], prompt


def test_a_chat_takes_the_models_template_and_ends_with_its_stop_token(client, tokenizer):
    """The end-of-turn token ends the answer, counts as "stop", and is not shown."""
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = ask(client, "chat/completions", messages=messages, temperature=0, max_tokens=40)
    (choice,) = answer["choices"]
    assert "Paris" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert "<|im_end|>" not in choice["message"]["content"]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert answer["usage"]["prompt_tokens"] == len(tokenizer(expected, add_special_tokens=False).input_ids)


def test_a_stop_string_cuts_the_answer(client):
    """The text before it stays as it was."""
    body = {"prompt": "The capital of France is", "temperature": 0, "max_tokens": 12}
    (whole,) = ask(client, "completions", **body)["choices"]
    assert "Paris" in whole["text"]
    (cut,) = ask(client, "completions", **body, stop=["Paris"])["choices"]
    assert cut["text"] == whole["text"].partition("Paris")[0]
    assert cut["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "text", ["The sea was calm.", "größer, naïve, 東京 🙂", "in 1976, 12345 tests", "<|im_start|>user\nhi<|im_end|>"]
)
def test_texts_become_the_tokens_of_transformers_and_come_back(client, tokenizer, text):
    """Special tokens in a text are read as transformers reads them."""
    response = client.post("/tokenize", json={"model": client.model, "prompt": text})
    assert response.status_code == 200, response.text
    ids = response.json()["tokens"]
    assert ids == tokenizer(text).input_ids
    back = client.post("/detokenize", json={"model": client.model, "tokens": ids})
    assert back.json()["prompt"] == text
