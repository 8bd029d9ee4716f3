"""Tasks with heads from publish to answer, with a real model: what PEFT says of the same text is what HTTP says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from prompts_store.checkpoint_records import TaskType
from prompts_store.maintenance import verify
from server.demo import BASE_DIR
from server.soft_prompts.tasks_folder import publish_checkpoint
from tests.parity.head_oracle import HeadOracle, save_checkpoint
from tests.system.live_server import LiveServer, checkpoint, live_server, publish

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported for parameter efficient tuning:UserWarning"),
]

SEQ_CLS, TOKEN_CLS = TaskType.SEQ_CLS, TaskType.TOKEN_CLS
QUESTION_ANS, FEATURES = TaskType.QUESTION_ANS, TaskType.FEATURE_EXTRACTION
TEXT = "the quick brown fox jumps over the lazy dog"
LABELS = ["good", "bad", "neither"]
TASKS: dict[str, tuple[TaskType, str, dict[str, Any]]] = {
    "mood": (SEQ_CLS, "prompt", {"labels": LABELS, "template": "Review: {input}"}),
    "plain": (SEQ_CLS, "prefix", {}),
    "tags": (SEQ_CLS, "prompt", {"problem_type": "multi_label_classification"}),
    "stars": (SEQ_CLS, "prompt", {"problem_type": "regression"}),
    "names": (TOKEN_CLS, "prompt", {"labels": ["O", "PER", "LOC"]}),
    "questions": (QUESTION_ANS, "prompt", {}),
    "vectors": (FEATURES, "prompt", {}),
    "raw": (FEATURES, "prefix", {"normalize": False, "pooling": "mean"}),
}


class Bench:
    """A running server with one task of each kind, and PEFT over the same files."""

    def __init__(self, folder: Path, base: Path, server: LiveServer, http: httpx.Client) -> None:
        self.folder, self.base, self.server, self.http = folder, base, server, http
        self.tokenizer = AutoTokenizer.from_pretrained(BASE_DIR)

    def files(self, task: str) -> dict[str, bytes]:
        folder = self.folder / task
        return {
            "adapter_config": (folder / "adapter_config.json").read_bytes(),
            "adapter_model": (folder / "adapter_model.safetensors").read_bytes(),
        }

    def peft(self, task: str, text: str, *pair: str) -> torch.Tensor:
        ids = self.tokenizer(text, *pair)["input_ids"]
        return HeadOracle(self.folder / task, self.base, TASKS[task][0]).values(ids)

    def post(self, route: str, **body: Any) -> dict[str, Any]:
        response = self.http.post(route, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def refusal(self, route: str, **body: Any) -> tuple[str, str]:
        response = self.http.post(route, json=body)
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        return error["param"], error["message"]


def gpt2_base(folder: Path) -> Path:
    """Return a folder with a random GPT-2, for which transformers has a class of each type that loads its weights."""
    tokenizer = AutoTokenizer.from_pretrained(BASE_DIR)
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "vocab_size": len(tokenizer)}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    model = GPT2LMHeadModel(GPT2Config(**sizes, **ends))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("heads")
    base = gpt2_base(folder / "base")
    with (
        live_server(base_model=str(base), data_dir=folder / "data", num_kv_blocks=400, device="cpu") as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        made = Bench(folder, base, server, http)
        for seed, (task, (task_type, kind, manifest)) in enumerate(TASKS.items()):
            save_checkpoint(folder / task, base, kind, task_type, seed)
            (folder / task / "manifest.json").write_text(json.dumps(manifest))
            published = publish(http, task, made.files(task), manifest=manifest)
            assert published["task_type"] == task_type
        publish(http, "texts", checkpoint(0))
        yield made


def test_a_text_is_classified_as_peft_does_it(bench):
    """The probabilities are the softmax of PEFT's logits; the labels are the version's, or placeholders."""
    for task, text, labels in (("mood", f"Review: {TEXT}", LABELS), ("plain", TEXT, ["LABEL_0", "LABEL_1", "LABEL_2"])):
        answer = bench.post("/v1/classify", model=task, input=[TEXT, "no"])
        expected = bench.peft(task, text).softmax(-1)[0].tolist()
        (first, second) = answer["data"]
        assert [entry["label"] for entry in first["probabilities"]] == labels
        assert [entry["probability"] for entry in first["probabilities"]] == pytest.approx(expected, abs=1e-4)
        assert first["label"] == labels[int(np.argmax(expected))]
        logprobs = np.array([entry["logprob"] for entry in first["probabilities"]])
        assert np.exp(logprobs).tolist() == pytest.approx(expected, abs=1e-4)
        assert second["index"] == 1
        assert answer["usage"]["completion_tokens"] == 0 < answer["usage"]["prompt_tokens"]


def test_labels_of_their_own_probability_and_numbers(bench):
    """The problem type of the version: sigmoid for several labels at once, the logits themselves for a regression."""
    tags, stars = (bench.post("/v1/classify", model=task, input=TEXT)["data"][0] for task in ("tags", "stars"))
    expected = bench.peft("tags", TEXT).sigmoid()[0].tolist()
    assert [entry["probability"] for entry in tags["probabilities"]] == pytest.approx(expected, abs=1e-4)
    assert stars == {"index": 0, "values": pytest.approx(bench.peft("stars", TEXT)[0].tolist(), abs=1e-4)}


def test_an_ensemble_of_classifiers_has_the_mean_of_their_probabilities(bench):
    """Its members are two versions with heads of the same size."""
    save_checkpoint(bench.folder / "other", bench.base, "p", SEQ_CLS, 50)
    publish(bench.http, "plain", bench.files("other"))
    assert bench.http.post("/v1/tasks/plain/versions", files={"members": (None, "[1, 2]")}).status_code == 201
    answer = bench.post("/v1/classify", model="plain@3", input=TEXT)["data"][0]
    other = HeadOracle(bench.folder / "other", bench.base, SEQ_CLS).values(bench.tokenizer(TEXT)["input_ids"])
    expected = (bench.peft("plain", TEXT).softmax(-1)[0] + other.softmax(-1)[0]) / 2
    assert [entry["probability"] for entry in answer["probabilities"]] == pytest.approx(expected.tolist(), abs=1e-4)


def test_every_token_of_a_text_has_a_label(bench):
    """With the place of the token in the text."""
    (item,) = bench.post("/v1/classify", model="names", input=TEXT)["data"]
    logits = bench.peft("names", TEXT)
    offsets = bench.tokenizer(TEXT, return_offsets_mapping=True)["offset_mapping"]
    assert [(token["start"], token["end"]) for token in item["tokens"]] == offsets
    assert [token["text"] for token in item["tokens"]] == [TEXT[start:end] for start, end in offsets]
    assert [token["label"] for token in item["tokens"]] == [["O", "PER", "LOC"][best] for best in logits.argmax(-1)]
    assert [token["score"] for token in item["tokens"]] == pytest.approx(
        logits.softmax(-1).max(-1).values.tolist(), abs=1e-4
    )


def test_an_answer_is_found_in_the_text_of_a_question(bench):
    """The best of all spans within the text, as transformers' pipeline scores them."""
    question = {"question": "what jumps?", "context": TEXT}
    (item,) = bench.post("/v1/classify", model="questions", input=question, top_k=3, max_answer_tokens=4)["data"]
    encoded = bench.tokenizer(question["question"], TEXT, return_offsets_mapping=True)
    rows = [row for row, text in enumerate(encoded.sequence_ids()) if text == 1]
    begin, end = bench.peft("questions", question["question"], TEXT)[rows].softmax(0).T.numpy()
    scores = np.tril(np.triu(np.outer(begin, end)), 3)
    best = np.unravel_index(np.argsort(-scores, axis=None)[:3], scores.shape)
    places = [(encoded["offset_mapping"][rows[a]][0], encoded["offset_mapping"][rows[b]][1]) for a, b in zip(*best)]  # noqa: B905
    assert [(answer["start"], answer["end"]) for answer in item["answers"]] == places
    assert [answer["text"] for answer in item["answers"]] == [TEXT[start:end] for start, end in places]
    assert [answer["score"] for answer in item["answers"]] == pytest.approx(scores[best].tolist(), abs=1e-5)
    assert len(bench.post("/v1/classify", model="questions", input=[question])["data"][0]["answers"]) == 1


def test_the_stock_client_gets_embeddings(bench):
    """Its default is base64. The last token's hidden state has length 1; `normalize` false leaves it as it is."""
    client = openai.OpenAI(base_url=f"{bench.server.url}/v1", api_key="none", max_retries=0)
    created = client.embeddings.create(model="vectors", input=[TEXT, "no"])
    expected = bench.peft("vectors", TEXT)[-1]
    assert created.data[0].embedding == pytest.approx((expected / expected.norm()).tolist(), abs=1e-4)
    assert created.data[1].index == 1
    assert created.usage.prompt_tokens == created.usage.total_tokens > 0
    as_floats = client.embeddings.create(model="vectors", input=[TEXT], encoding_format="float", dimensions=32)
    assert as_floats.data[0].embedding == pytest.approx(created.data[0].embedding, abs=1e-6)
    ids = bench.tokenizer(TEXT)["input_ids"]
    raw = client.embeddings.create(model="raw", input=ids).data[0].embedding
    assert raw == pytest.approx(bench.peft("raw", TEXT).mean(0).tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("route", "body", "param", "message"),
    [
        ("/v1/completions", {"model": "mood", "prompt": "a"}, "model", "use POST /v1/classify"),
        ("/v1/completions", {"model": "vectors", "prompt": "a"}, "model", "use POST /v1/embeddings"),
        ("/v1/classify", {"model": "vectors", "input": "a"}, "model", "use POST /v1/embeddings"),
        ("/v1/classify", {"model": "mood", "input": "a", "labels": ["x", "y"]}, "labels", "leave labels out"),
        ("/v1/classify", {"model": "mood", "input": {"question": "a", "context": "b"}}, "input", "QUESTION_ANS"),
        ("/v1/classify", {"model": "questions", "input": "a"}, "input", "question and context"),
        ("/v1/classify", {"model": "questions", "input": {"question": "a"}}, "input", "required"),
        ("/v1/classify", {"model": "questions", "input": {"question": "", "context": "b"}}, "input", "empty"),
        ("/v1/classify", {"model": "names", "input": "a", "top_k": 2}, "top_k", "leave it out"),
        ("/v1/classify", {"model": "names", "input": ""}, "input", "empty"),
        ("/v1/embeddings", {"model": "texts", "input": "a"}, "model", "FEATURE_EXTRACTION"),
        ("/v1/embeddings", {"model": "names", "input": "a"}, "model", "use POST /v1/classify"),
        ("/v1/embeddings", {"model": "vectors", "input": "a", "dimensions": 8}, "dimensions", "32"),
        ("/v1/embeddings", {"model": "vectors", "input": []}, "input", "1 to"),
        ("/v1/embeddings", {"model": "vectors", "input": ["a"] * 65}, "input", "1 to 64"),
        ("/v1/embeddings", {"model": "vectors", "input": [999999]}, None, "token id"),
        ("/v1/embeddings", {"model": "vectors", "input": "a", "encoding_format": "int8"}, "encoding_format", "base64"),
    ],
)
def test_what_a_task_cannot_do_is_refused_by_name(bench, route, body, param, message):
    """With the route that can."""
    found = bench.refusal(route, **body)
    assert found[0] == param
    assert message in found[1]


@pytest.mark.parametrize("task", [*TASKS, "texts"])
def test_a_model_says_which_route_answers_it(bench, task):
    """So that a client need not try; PEFT's task type says what a head answers."""
    model = bench.http.get(f"/v1/models/{task}").json()
    if task == "texts":
        assert (model["endpoints"][0], model.get("task_type")) == ("/v1/completions", None)
    else:
        route = "/v1/embeddings" if TASKS[task][0] is FEATURES else "/v1/classify"
        assert (model["endpoints"], model["task_type"]) == ([route], TASKS[task][0])


def test_a_chat_of_a_classifier_is_refused(bench):
    """As any request for text."""
    messages = [{"role": "user", "content": "a"}]
    assert "use POST /v1/classify" in bench.refusal("/v1/chat/completions", model="mood", messages=messages)[1]


def test_a_version_with_a_head_goes_out_as_it_came_in(bench):
    """Byte for byte, and a folder of it is the same version."""
    for task in ("mood", "names", "questions", "vectors"):
        version = bench.http.get(f"/v1/tasks/{task}/versions/1").json()
        path = f"/v1/tasks/{task}/versions/1"
        assert bench.http.get(f"{path}/adapter_model.safetensors").content == bench.files(task)["adapter_model"]
        store_access = bench.server.services.store_access
        again = publish_checkpoint(
            store_access.store, store_access.base, bench.folder / task, promote=False, actor="folder"
        )
        assert (again.created, again.version.digest) == (False, version["digest"])


@pytest.mark.parametrize(
    ("task", "manifest", "param"),
    [
        ("mood", {"labels": ["a", "b"]}, "manifest.labels"),
        ("mood", {"stop": ["x"]}, "manifest.stop"),
        ("mood", {"pooling": "mean"}, "manifest.pooling"),
        ("mood", {"problem_type": "other"}, "manifest.problem_type"),
        ("names", {"template": "{input}!"}, "manifest.template"),
        ("questions", {"labels": ["a", "b"]}, "manifest.labels"),
        ("vectors", {"defaults": {"temperature": 0.0}}, "manifest.defaults"),
        ("vectors", {"pooling": "first"}, "manifest.pooling"),
    ],
)
def test_a_manifest_that_the_type_would_ignore_is_refused(bench, task, manifest, param):
    """By its name."""
    files = {name: (name, content) for name, content in bench.files(task).items()}
    response = bench.http.post("/v1/tasks/new/versions", files=files, data={"manifest": json.dumps(manifest)})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_only_classifiers_of_one_size_form_an_ensemble(bench):
    """Labels of tokens and vectors are not combined."""
    publish(bench.http, "names", bench.files("names"), manifest={"labels": ["X", "Y", "Z"]})
    form = {"members": (None, "[1, 2]")}
    response = bench.http.post("/v1/tasks/names/versions", files=form)
    assert response.status_code == 400
    assert "TOKEN_CLS" in response.json()["error"]["message"]


def test_the_store_is_sound(bench):
    """After all of the above."""
    assert verify(bench.server.services.store_access.store).problems == ()
