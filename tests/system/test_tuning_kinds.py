"""Tuning jobs over HTTP on an encoder, on a decoder with a head, and on an encoder-decoder."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from peft import PeftModel
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    T5Config,
)

from server.app import build_services, create_app
from server.settings import ServeSettings
from tests.devices import NAME
from tests.parity.architectures import build_from
from tests.system.test_encoder_decoder import tokenizer_with_end
from tests.tuning.heads import wide

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

LINES = [
    {"text": f"{'calm sea' if n % 2 else 'angry wind'} number {n}", "label": ("bad", "good")[n % 2]} for n in range(40)
]
HELD_OUT = [
    {"text": f"{'calm sea' if n % 2 else 'angry wind'} letter {'abcdefgh'[n]}", "label": ("bad", "good")[n % 2]}
    for n in range(8)
]
STEPS = {"num_steps": 30, "batch_size": 8, "num_virtual_tokens": 4, "warmup_steps": 2}


def save_base(folder: Path, kind: str) -> None:
    """A base model of random weights, with the demo's tokenizer."""
    tokenizer = tokenizer_with_end()
    end = tokenizer.eos_token_id
    ids = {"vocab_size": len(tokenizer), "eos_token_id": end, "pad_token_id": end, "bos_token_id": end}
    torch.manual_seed(0)
    if kind == "bert":
        config = BertConfig(**ids, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
        model = wide(AutoModelForSequenceClassification.from_config(config))
    elif kind == "gpt2":
        model = build_from(GPT2Config(**ids, n_embd=32, n_layer=2, n_head=4, n_positions=96))
    else:
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
        more = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        model = wide(AutoModelForSeq2SeqLM.from_config(T5Config(**ids, decoder_start_token_id=end, **more, **sizes)))
        model.get_output_embeddings().weight.data.mul_(4)  # so that it can name a token clearly
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    for kind in ("bert", "gpt2", "t5"):
        save_base(folder / kind, kind)
    return folder


@pytest.fixture(scope="module", params=["bert", "gpt2", "t5"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def client(folders, kind):
    settings = ServeSettings(
        base_model=str(folders / kind), data_dir=folders / f"{kind}-data", device=NAME, max_context=64
    )
    with TestClient(create_app(build_services(settings)), base_url="http://localhost") as client:
        yield client


def hyperparameters(kind: str, **changes) -> dict:
    own = {"gpt2": {"task_type": "SEQ_CLS"}, "t5": {"num_steps": 60, "num_virtual_tokens": 8, "learning_rate": 0.3}}
    return {**STEPS, **own.get(kind, {}), **changes}


def upload(client, lines=LINES) -> str:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    response = client.post("/v1/files", files={"file": ("x.jsonl", content)}, data={"purpose": "fine-tune"})
    return response.json()["id"]


def create(client, kind: str, task: str, lines=LINES, changes=None, **body):
    return client.post(
        "/v1/fine_tuning/jobs",
        json={
            "model": kind,
            "training_file": upload(client, lines),
            "suffix": task,
            "hyperparameters": hyperparameters(kind, **(changes or {})),
            **body,
        },
    )


def finished(client, job: dict) -> dict:
    deadline = time.monotonic() + 60
    while job["status"] not in ("succeeded", "failed", "cancelled", "paused"):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
        job = client.get(f"/v1/fine_tuning/jobs/{job['id']}").json()
    return job


@pytest.fixture(scope="module")
def tuned(client, kind):
    """A job that has ended, and its version. A head passed a gate that only something learnt can pass."""
    metric, score = ("exact_match", 0.0) if kind == "t5" else ("label_accuracy", 0.9)
    created = create(
        client,
        kind,
        "mood",
        validation_file=upload(client, HELD_OUT),
        promote=True,
        gate={"metric": metric, "min_score": score},
    )
    assert created.status_code == 200, created.text
    job = finished(client, created.json())
    assert job["status"] == "succeeded", job
    return job, client.get("/v1/tasks/mood/versions/1").json()


@pytest.fixture(scope="module")
def peft(client, kind, folders, tuned):
    """The version's files, loaded by PEFT around transformers' own class."""
    folder = folders / f"{kind}-version"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes(client.get(f"/v1/tasks/mood/versions/1/{name}").content)
    more = {} if kind == "t5" else {"num_labels": 2}
    model = (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForSequenceClassification).from_pretrained(
        str(folders / kind), **more
    )
    return PeftModel.from_pretrained(model, str(folder)).eval()


def ids_of(kind: str, text: str) -> torch.Tensor:
    return torch.tensor([tokenizer_with_end()(text + ("\n" if kind == "gpt2" else ""))["input_ids"]])


def peft_logprob(peft, kind: str, line: dict) -> tuple[float, int]:
    """The log-probability of a line's label by PEFT's own model, and the number of its tokens."""
    ids = ids_of(kind, line["text"])
    with torch.no_grad():
        if kind != "t5":
            logits = peft(input_ids=ids).logits[0]
            return float(logits.log_softmax(-1)[["bad", "good"].index(line["label"])]), 1
        labels = torch.tensor([tokenizer_with_end()(line["label"])["input_ids"]])
        return -float(peft(input_ids=ids, labels=labels).loss) * labels.shape[1], labels.shape[1]


def test_a_job_ends_in_a_version_whose_scores_are_those_of_peft(kind, tuned, peft):
    """Its files are loaded by PEFT, and answer the held-out lines there as they are served here. A kind is chosen by
    itself where the base model has one only."""
    job, version = tuned
    found = [peft_logprob(peft, kind, line) for line in HELD_OUT]
    perplexity = math.exp(-sum(logprob for logprob, _ in found) / sum(number for _, number in found))
    metrics = version["manifest"]["metrics"]
    assert metrics["perplexity"] == pytest.approx(perplexity, rel=1e-3)
    assert metrics["validation_loss"] == pytest.approx(math.log(perplexity), rel=1e-3)
    assert version["manifest"]["labels"] == ["bad", "good"]
    assert job["hyperparameters"].get("task_type") == (None if kind == "t5" else "SEQ_CLS")
    if kind != "t5":
        assert metrics["exact_match"] == metrics["label_accuracy"] == 1
        assert version["manifest"]["defaults"] == {}


def test_what_is_trained_is_what_is_served(client, kind, tuned, peft):
    """A text is that of PEFT's `generate`, a class that of PEFT's head."""
    line = HELD_OUT[0]
    if kind == "t5":
        body = {"model": "mood", "prompt": line["text"], "max_tokens": 6, "temperature": 0}
        response = client.post("/v1/completions", json=body)
        assert response.status_code == 200, response.text
        text = response.json()["choices"][0]["text"]
        tokens = peft.generate(input_ids=ids_of(kind, line["text"]), max_new_tokens=6, do_sample=False)[0]
        assert text == tokenizer_with_end().decode(tokens, skip_special_tokens=True)
        assert peft.peft_config["default"].num_transformer_submodules == 1
        return
    response = client.post("/v1/classify", json={"model": "mood", "input": line["text"]})
    assert response.status_code == 200, response.text
    (result,) = response.json()["data"]
    assert result["label"] == line["label"]


@pytest.mark.parametrize("method", ["P_TUNING", "PREFIX_TUNING"])
def test_other_methods_end_in_versions_too(client, kind, method):
    """Published like any other."""
    job = finished(client, create(client, kind, method.lower(), changes={"method": method, "num_steps": 4}).json())
    assert job["status"] == "succeeded", job
    assert math.isfinite(job["metrics"]["perplexity"])


def test_a_paused_job_goes_on_to_the_same_version(client, kind):
    """Bit for bit, with its head."""
    steps = {"num_steps": 60, "validate_every": 20}
    whole = finished(client, create(client, kind, "whole", changes=steps).json())
    job = create(client, kind, "cut", changes=steps).json()
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    while client.get(path).json()["status"] in ("validating_files", "queued"):
        time.sleep(0.002)
    client.post(f"{path}/pause")
    client.post(f"{path}/resume")
    cut = finished(client, client.get(path).json())
    digests = [client.get(f"/v1/tasks/{one['task']}/versions/1").json()["digest"] for one in (whole, cut)]
    assert digests[0] == digests[1]


def test_a_preview_shows_what_is_read_and_what_is_learnt(client, kind):
    """Tokens of the answer, or the label of a head."""
    body = {"examples": LINES[:1], "hyperparameters": hyperparameters(kind)}
    response = client.post("/v1/fine_tuning/preview", json=body)
    assert response.status_code == 200, response.text
    (example,) = response.json()["examples"]
    assert example.get("label") == (None if kind == "t5" else "bad")
    assert any(token["learnt"] for token in example["tokens"]) == (kind == "t5")


REFUSED = {
    "token labels": (
        {"task_type": "TOKEN_CLS"},
        {},
        "no form for the labels of single tokens: train the soft prompt with",
    ),
    "spans": ({"task_type": "QUESTION_ANS"}, {}, "no form for the span of an answer"),
    "embeddings": ({"task_type": "FEATURE_EXTRACTION"}, {}, "no form for pairs of texts"),
}
OF_HEADS = {
    "stop": ({}, {"stop": ["x"]}, "stop is for generated text; a head answers here"),
    "defaults": ({}, {"defaults": {"max_tokens": 3}}, "defaults is for generated text"),
}


@pytest.mark.parametrize("case", REFUSED | OF_HEADS)
def test_what_is_not_trained_is_refused_by_name(client, kind, case):
    """Before a job is created."""
    changes, body, message = (REFUSED | OF_HEADS)[case]
    if kind == "t5" and case in OF_HEADS:
        changes, body, message = (
            {"task_type": "SEQ_CLS"},
            {},
            "of the kind encoder-decoder, which is tuned for SEQ_2_SEQ",
        )
    response = create(client, kind, "no", changes=changes, **body)
    assert response.status_code in (400, 422), response.text
    assert message in response.json()["error"]["message"]


def test_the_own_task_type_of_a_base_model_asks_for_nothing(client, kind):
    """It is accepted, and stored as the default."""
    own = {"bert": "SEQ_CLS", "gpt2": "CAUSAL_LM", "t5": "SEQ_2_SEQ_LM"}[kind]
    body = {"hyperparameters": {"task_type": own}, "examples": LINES[:1]}
    preview = client.post("/v1/fine_tuning/preview", json=body).json()
    assert preview["hyperparameters"].get("task_type") == ("SEQ_CLS" if kind == "bert" else None)


def test_answers_that_are_no_labels_are_refused_with_their_line(client, kind):
    """By a head; a file without labels and a job without labels have none to choose from."""
    if kind == "t5":
        pytest.skip("an encoder-decoder learns any text")
    lines = [{"prompt": line["text"], "completion": line["label"]} for line in LINES]
    job = finished(client, create(client, kind, "none", lines).json())
    assert (job["status"], job["error"]["code"]) == ("failed", "unknown_label")
    assert "a head needs the labels" in job["error"]["message"]
    job = finished(client, create(client, kind, "none", lines[::2], labels=["bad", "good"]).json())
    assert (job["status"], job["error"]["code"]) == ("failed", "single_class")
    odd = [*lines, {"prompt": "x", "completion": "middling"}]
    job = finished(client, create(client, kind, "none", odd, labels=["bad", "good"]).json())
    assert job["error"]["message"].startswith("line 41: the answer is none of the job's labels")
    job = finished(
        client, create(client, kind, "named", lines, changes={"num_steps": 2}, labels=["good", "bad"]).json()
    )
    assert (job["status"], job["labels"]) == ("succeeded", ["good", "bad"])


def test_an_input_that_is_too_long_is_refused_with_its_line(client, kind):
    """For the encoder, or for the context."""
    job = finished(client, create(client, kind, "long", [*LINES, {"text": "calm sea " * 60, "label": "good"}]).json())
    assert (job["status"], job["error"]["code"]) == ("failed", "example_too_long")
    assert job["error"]["message"].startswith("line 41: has ")
