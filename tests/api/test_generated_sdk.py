"""A Python SDK generated from the committed document does the main jobs."""

import importlib
import json
import subprocess
import sys

import pytest
from safetensors.numpy import load

from server.api.__main__ import DOCUMENT
from server.api.wire.examples.heads import ALTERNATIVES
from tests.api.conftest import SENTIMENT
from tests.api.live_server import live_server
from tests.fakes.checkpoints import prompt_tuning_files

PACKAGE = "generated_softprompt_sdk"


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    """Imports modules of the generated package."""
    folder = tmp_path_factory.mktemp("sdk")
    config = folder / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))
    command = ["generate", "--path", DOCUMENT, "--output-path", folder / PACKAGE, "--meta", "none", "--config", config]
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *map(str, command)], capture_output=True, text=True, check=True
    )
    assert "Warning" not in done.stdout
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    sys.path.remove(str(folder))


def test_the_sdk_publishes_completes_classifies_and_meets_a_404(sdk, services, engine):
    """With typed arguments and answers all the way."""
    models, types = sdk("models"), sdk("types")
    files = {
        name: types.File(payload=data, file_name=name, mime_type="application/octet-stream")
        for name, data in prompt_tuning_files().items()
    }
    with live_server(services) as url, sdk("client").Client(base_url=url) as client:
        upload = models.CheckpointUpload(**files, manifest=json.dumps(SENTIMENT), promote=True)
        published = sdk("api.versions.versions_publish").sync("sentiment", client=client, body=upload)
        assert isinstance(published, models.PublishedVersion)
        assert (published.version, published.created, published.promoted) == (1, True, True)

        request = models.CompletionRequest(model="sentiment", prompt="What a film.", max_tokens=9)
        completion = sdk("api.completions.completions_create").sync(client=client, body=request)
        assert completion.choices[0].text == " positive"

        request = models.ChatRequest(
            model="sentiment",
            messages=[models.ChatMessageBody(role=models.ChatMessageBodyRole.USER, content="What a film.")],
        )
        chat = sdk("api.chat.chat_complete").sync(client=client, body=request)
        assert chat.choices[0].message.content == " positive"

        request = models.ClassifyRequest(model="sentiment", input_="What a film.")
        result = sdk("api.classify.classify_create").sync(client=client, body=request)
        assert result.data[0].label in SENTIMENT["labels"]

        missing = sdk("api.tasks.tasks_get").sync_detailed("unknown", client=client)
        assert missing.status_code == 404
        assert isinstance(missing.parsed, models.ErrorBody)
        assert missing.parsed.error.code == "task_not_found"

        tensors = sdk("api.versions.versions_download_tensors").sync("sentiment", 1, client=client)
        assert load(tensors.payload.read()).keys() == {"prompt_embeddings"}
        config = sdk("api.versions.versions_download_config").sync("sentiment", 1, client=client)
        assert config["peft_type"] == "PROMPT_TUNING"

        alias = sdk("api.aliases.aliases_get").sync_detailed("sentiment", "production", client=client)
        moved = sdk("api.aliases.aliases_put").sync(
            "sentiment", "production", client=client, body=models.MoveAlias(version=1), if_match=alias.headers["etag"]
        )
        assert moved.version == 1


def test_the_sdk_reads_every_form_of_a_head_s_answer(sdk):
    """Each into a type of its own; a body of ours goes out as it came in."""
    models = sdk("models")
    forms = [
        models.ClassifyResult.from_dict(example.model_dump(mode="json", exclude_unset=True)).data[0]
        for example in ALTERNATIVES["ClassifyResult"].values()
    ]
    assert [type(form).__name__ for form in forms] == [
        "Classification", "Classification", "Regression", "TokenClassification", "QuestionAnswers",
    ]  # fmt: skip
    numbers, encoded = (
        models.EmbeddingList.from_dict(example.model_dump(mode="json")).data[0].embedding
        for example in ALTERNATIVES["EmbeddingList"].values()
    )
    assert (type(numbers), type(encoded)) == (list, str)
    for name in ("ClassifyRequest", "EmbeddingsRequest"):
        for example in ALTERNATIVES[name].values():
            body = example.model_dump(mode="json", exclude_unset=True)
            sent = getattr(models, name).from_dict(body).to_dict()
            assert {field: value for field, value in sent.items() if field in body} == body
