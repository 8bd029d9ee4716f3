"""`softprompt serve` with an encoder: its tasks classify and embed, and what writes text is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from prompts_store.checkpoint_records import BaseKind, TaskType
from server.base_model_source import read_base_model
from server.settings import ServeSettings
from tests.parity.encoders import ENCODERS, build_encoder
from tests.parity.head_oracle import HeadOracle, save_checkpoint
from tests.system.live_server import LiveServer, checkpoint, live_server, publish

pytestmark = [
    # PEFT reads a property that transformers is about to rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # torch's prefix encoder of PEFT runs a module on an empty buffer.
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]

SEQ_CLS, TOKEN_CLS, QUESTION_ANS, FEATURES = (task_type for task_type in TaskType if task_type.has_head)
WORDS = ("a", "calm", "sea", "rose", "slowly", "who", "fell", "?")
TEXT = "A calm sea rose"


def bert_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's own steps over a few words."""
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {token: index for index, token in enumerate((*special.values(), *WORDS))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", marks)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT in a folder."""
    folder: Path = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    build_encoder(ENCODERS["bert"]()).save_pretrained(str(folder))
    bert_tokenizer().save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def server(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server on it."""
    with live_server(base_model=str(base), data_dir=tmp_path_factory.mktemp("data"), threads=1) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Any:
    """A client of it."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def test_the_server_says_what_it_serves(client: httpx.Client) -> None:
    """Its state, metrics, page and model list."""
    for path in ("/health", "/ready", "/metrics", "/", "/v1/engine"):
        assert client.get(path).status_code == 200, path
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"], model["endpoints"]) == ("tiny-bert", 96, [])
    tokens = client.post("/tokenize", json={"prompt": TEXT}).json()["tokens"]
    assert tokens == [2, 4, 5, 6, 7, 3]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/classify", "/v1/embeddings"])
def test_the_base_model_alone_answers_nothing(client: httpx.Client, path: str) -> None:
    """It writes no text and has no head: 400, in words."""
    body: dict[str, Any] = {
        "/v1/completions": {"prompt": TEXT},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": TEXT}]},
        "/v1/classify": {"input": TEXT, "labels": ["a", "sea"]},
        "/v1/embeddings": {"input": TEXT},
    }[path]
    response = client.post(path, json={"model": "tiny-bert", **body})
    assert response.status_code == 400
    assert "task" in response.json()["error"]["message"]


class Tasks:
    """Tasks of an encoder that were published over HTTP, and PEFT's answers."""

    def __init__(self, folder: Path, base: Path, client: httpx.Client) -> None:
        self.folder, self.base, self.client = folder, base, client

    def publish(self, kind: str, task_type: TaskType, **manifest: Any) -> HeadOracle:
        folder = self.folder / f"{kind}-{task_type}"
        save_checkpoint(folder, self.base, kind, task_type, seed=3)
        names = {"adapter_config": "adapter_config.json", "adapter_model": "adapter_model.safetensors"}
        files = {field: (folder / name).read_bytes() for field, name in names.items()}
        publish(self.client, self.name(kind, task_type), files, promote="true", manifest=manifest)
        return HeadOracle(folder, self.base, task_type)

    @staticmethod
    def name(kind: str, task_type: TaskType) -> str:
        return f"{kind}-{task_type}".lower().replace("_", "-")

    def classify(self, kind: str, task_type: TaskType, value: Any) -> Any:
        response = self.client.post("/v1/classify", json={"model": self.name(kind, task_type), "input": value})
        assert response.status_code == 200, response.text
        (item,) = response.json()["data"]
        return item


@pytest.fixture
def tasks(tmp_path: Path, base: Path, client: httpx.Client) -> Tasks:
    """The tasks of one test."""
    return Tasks(tmp_path, base, client)


IDS = [2, 4, 5, 6, 7, 3]


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_texts_and_tokens_are_classified_as_peft_does(tasks: Tasks, kind: str) -> None:
    """Text is tokenized with its marks; labels are the version's."""
    labels = ["low", "middle", "high"]
    oracle = tasks.publish(kind, SEQ_CLS, labels=labels)
    found = tasks.classify(kind, SEQ_CLS, TEXT)
    expected = oracle.values(IDS)[0].softmax(-1).tolist()
    assert [entry["label"] for entry in found["probabilities"]] == labels
    assert [entry["probability"] for entry in found["probabilities"]] == pytest.approx(expected, abs=1e-4)
    oracle = tasks.publish(kind, TOKEN_CLS, labels=labels)
    tokens = tasks.classify(kind, TOKEN_CLS, TEXT)["tokens"]
    rows = oracle.values(IDS)[1:-1].softmax(-1)
    assert [token["text"] for token in tokens] == TEXT.split()
    assert [token["score"] for token in tokens] == pytest.approx(rows.max(-1).values.tolist(), abs=1e-4)
    assert [token["label"] for token in tokens] == [labels[row] for row in rows.argmax(-1).tolist()]


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_questions_are_answered_as_by_peft(tasks: Tasks, kind: str) -> None:
    """PEFT drops the token types that BERT's tokenizer gives to the question and its context."""
    oracle = tasks.publish(kind, QUESTION_ANS)
    item = tasks.classify(kind, QUESTION_ANS, {"question": "Who fell ?", "context": TEXT})
    ids = [2, 9, 10, 11, 3, 4, 5, 6, 7, 3]
    logits = oracle.values(ids, token_type_ids=[0] * 5 + [1] * 5)
    first, last, score = expected_answer(logits)
    (found,) = item["answers"]
    assert found["text"] == " ".join(TEXT.split()[first : last + 1])
    assert found["score"] == pytest.approx(score, abs=1e-4)


def expected_answer(logits: torch.Tensor) -> tuple[int, int, float]:
    """The best words of the context, and their score: only they count, and the first mark, which is no answer."""
    counted = torch.tensor([True, *[False] * 4, *[True] * 4, False])
    starts, ends = (logits[:, side].masked_fill(~counted, float("-inf")).softmax(-1)[5:9] for side in (0, 1))
    scores = (starts[:, None] * ends).triu()
    best = int(scores.argmax())
    return best // 4, best % 4, float(scores.max())


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_vectors_are_the_mean_over_the_text(tasks: Tasks, kind: str) -> None:
    """Of length 1, in the order of the inputs; a completion of such a task is refused."""
    oracle = tasks.publish(kind, FEATURES)
    name = tasks.name(kind, FEATURES)
    response = tasks.client.post("/v1/embeddings", json={"model": name, "input": [TEXT, "sea"]})
    assert response.status_code == 200, response.text
    for item, ids in zip(response.json()["data"], (IDS, [2, 6, 3]), strict=True):
        mean = oracle.values(ids)[-len(ids) :].mean(0)
        assert item["embedding"] == pytest.approx((mean / mean.norm()).tolist(), abs=1e-4)
    refused = tasks.client.post("/v1/completions", json={"model": name, "prompt": TEXT})
    assert refused.status_code == 400
    assert "embeddings" in refused.json()["error"]["message"]


def test_a_checkpoint_for_text_is_refused(client: httpx.Client) -> None:
    """By the task types that an encoder takes."""
    response = client.post("/v1/tasks/text/versions", files=checkpoint(1))
    assert response.status_code == 400
    assert "encoder, which takes SEQ_CLS, TOKEN_CLS" in response.json()["error"]["message"]


def test_the_base_model_is_described_without_its_weights(base: Path, server: LiveServer, tmp_path: Path) -> None:
    """As the server describes it: `softprompt task publish` on a database checks by that."""
    read = read_base_model(ServeSettings(base_model=str(base), data_dir=tmp_path))
    assert read == server.services.store_access.base
    assert read.kind is BaseKind.ENCODER
