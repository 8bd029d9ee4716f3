"""A T5 behind HTTP: completions, chats, streams and classifications of its tasks are those of PEFT."""

from __future__ import annotations

import io
import json

import pytest
import torch
from fastapi.testclient import TestClient
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerFast, T5Config

from server.app import build_services, create_app
from server.demo import BASE_DIR
from server.settings import ServeSettings
from tests.devices import NAME
from tests.parity.architectures import build_from
from tests.parity.oracle import PeftOracle, save_checkpoint
from tests.system.live_server import checkpoint, publish

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

TEXT = "a small boat on the sea"
OTHER = "people were waiting"
NUM_NEW = 8
GREEDY = {"temperature": 0, "max_tokens": NUM_NEW}
MAX_CONTEXT = 64


def tokenizer_with_end() -> PreTrainedTokenizerFast:
    """The demo's tokenizer, which puts the end token behind a text, as T5's does."""
    tokenizer = AutoTokenizer.from_pretrained(BASE_DIR)
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    return tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base of random weights, and a checkpoint of each way into it."""
    folder = tmp_path_factory.mktemp("encoder_decoder")
    tokenizer = tokenizer_with_end()
    end = tokenizer.eos_token_id
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    ids = {"eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": end}
    model = build_from(
        T5Config(vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", **sizes, **ids), AutoModelForSeq2SeqLM
    )
    model.generation_config.num_beams = 4
    model.save_pretrained(str(folder / "base"))
    tokenizer.save_pretrained(str(folder / "base"))
    for seed, kind in enumerate(("prompt", "prefix")):
        save_checkpoint(folder / kind, model, kind, seed)
    return folder


@pytest.fixture(scope="module")
def client(folder):
    """A server of that base, with both tasks."""
    settings = ServeSettings(
        base_model=str(folder / "base"), data_dir=folder / "data", device=NAME, max_context=MAX_CONTEXT
    )
    with TestClient(create_app(build_services(settings)), base_url="http://localhost") as client:
        for kind in ("prompt", "prefix"):
            names = {"adapter_config": "adapter_config.json", "adapter_model": "adapter_model.safetensors"}
            files = {form: (folder / kind / name).read_bytes() for form, name in names.items()}
            publish(client, kind, files, manifest={"template": "{input}", "labels": ["good", "not good"]})
        yield client


@pytest.fixture(scope="module")
def oracle(folder):
    """PEFT's own tokens and logits for a text of a task."""
    model = AutoModelForSeq2SeqLM.from_pretrained(str(folder / "base"))
    model.generation_config.num_beams = 1
    oracles = {kind: PeftOracle(folder / kind, model, None) for kind in ("prompt", "prefix")}
    tokenizer = tokenizer_with_end()

    def answer(kind: str, text: str):
        return oracles[kind].generate(tokenizer(text)["input_ids"], NUM_NEW)

    return answer


def text_of(answer) -> str:
    return tokenizer_with_end().decode(answer.tokens, skip_special_tokens=True)


def post(client, path: str, **body):
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_completions_and_chats_are_those_of_peft(client, oracle, kind):
    """Several prompts, several choices, log-probabilities, and a chat of one message."""
    expected = [text_of(oracle(kind, text)) for text in (TEXT, OTHER)]
    body = post(client, "/v1/completions", model=kind, prompt=[TEXT, OTHER], n=2, logprobs=1, **GREEDY).json()
    assert [choice["text"] for choice in body["choices"]] == [expected[0]] * 2 + [expected[1]] * 2
    num_prompt = sum(len(tokenizer_with_end()(text)["input_ids"]) for text in (TEXT, OTHER))
    assert body["usage"]["prompt_tokens"] == num_prompt
    logprobs = oracle(kind, TEXT).logits.log_softmax(-1).max(-1).values
    assert body["choices"][0]["logprobs"]["token_logprobs"] == pytest.approx(logprobs.tolist(), abs=1e-3)
    messages = [{"role": "user", "content": TEXT}]
    chat = post(client, "/v1/chat/completions", model=kind, messages=messages, **GREEDY).json()
    assert chat["choices"][0]["message"]["content"] == expected[0]


def test_a_stream_is_the_same_text_in_pieces(client, oracle):
    """Each event carries what is new."""
    response = post(client, "/v1/completions", model="prompt", prompt=TEXT, stream=True, **GREEDY)
    lines = [line.removeprefix("data: ") for line in io.StringIO(response.text) if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines if line.strip() != "[DONE]"]
    assert len(chunks) > 2
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == text_of(oracle("prompt", TEXT))


def test_a_stop_string_and_a_limit_end_a_text(client, oracle):
    """As with any base model."""
    whole = text_of(oracle("prompt", TEXT))
    stop = whole[3:6]
    body = post(client, "/v1/completions", model="prompt", prompt=TEXT, stop=stop, **GREEDY).json()
    assert body["choices"][0]["text"] == whole[: whole.index(stop)]
    assert body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("model", ["base", "prompt", "prefix"])
def test_an_answer_keeps_its_form(client, model):
    """The decoder's tokens are masked; what the encoder reads has no form."""
    named = client.get("/v1/models").json()["data"][0]["id"] if model == "base" else model
    schema = {"type": "array", "items": {"enum": ["yes", "no"]}, "minItems": 2, "maxItems": 3}
    sampled = {"temperature": 1, "seed": 3, "n": 3, "max_tokens": 48}
    answer = post(client, "/v1/completions", model=named, prompt=TEXT, structured_outputs={"json": schema}, **sampled)
    for choice in answer.json()["choices"]:
        assert choice["finish_reason"] == "stop"
        assert 2 <= len(json.loads(choice["text"])) <= 3


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_labels_are_scored_as_answers_of_the_decoder(client, folder, kind):
    """Each label with its end token, behind the start token: the probabilities of PEFT's logits."""
    body = post(client, "/v1/classify", model=kind, input=TEXT).json()
    model = AutoModelForSeq2SeqLM.from_pretrained(str(folder / "base"))
    peft, tokenizer = PeftOracle(folder / kind, model, None)._model, tokenizer_with_end()
    scores = []
    for label in ("good", "not good"):
        target = torch.tensor([tokenizer(label)["input_ids"]])
        ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
        mask = torch.ones_like(ids)
        with torch.no_grad():
            loss = peft(input_ids=ids, attention_mask=mask, labels=target).loss
        scores.append(-float(loss) * target.shape[1])
    expected = torch.tensor(scores).softmax(0).tolist()
    (result,) = body["data"]
    assert [entry["probability"] for entry in result["probabilities"]] == pytest.approx(expected, abs=1e-3)
    assert [entry["logprob"] for entry in result["probabilities"]] == pytest.approx(scores, abs=1e-3)


REFUSED = {
    "echo": ("/v1/completions", {"prompt": TEXT, "echo": True}, "echo is not supported"),
    "history": (
        "/v1/chat/completions",
        {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": TEXT}]},
        "no chat template",
    ),
    "long input": ("/v1/completions", {"prompt": [[5] * 60]}, "the encoder of the base model reads 64 tokens"),
    "long output": ("/v1/completions", {"prompt": TEXT, "max_tokens": 64}, "the decoder of the base model holds 64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_done_is_refused_by_name(client, case):
    """With numbers where a limit is the reason."""
    path, body, message = REFUSED[case]
    response = client.post(path, json={"model": "prompt", **body})
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_a_checkpoint_for_a_decoder_is_refused(client):
    """Its task_type says so."""
    files = {name: (name, content) for name, content in checkpoint(0).items()}
    response = client.post("/v1/tasks/wrong/versions", files=files)
    assert response.status_code in (400, 422)
    assert "encoder-decoder" in response.json()["error"]["message"]
