"""A round trip with the SDK that openapi-python-client generates. Each line of output is one step that went well."""

from __future__ import annotations

import json
import os
from pathlib import Path

from softprompt_sdk import AuthenticatedClient, models
from softprompt_sdk.api.aliases import aliases_get, aliases_put
from softprompt_sdk.api.classify import classify_create
from softprompt_sdk.api.completions import completions_create
from softprompt_sdk.api.files import files_create
from softprompt_sdk.api.fine_tuning import fine_tuning_cancel, fine_tuning_create, fine_tuning_get
from softprompt_sdk.api.models import models_list
from softprompt_sdk.api.tasks import tasks_get
from softprompt_sdk.api.versions import versions_publish
from softprompt_sdk.types import File

CHECKPOINT = Path(os.environ["CHECKPOINT"])
TASK = os.environ["TASK"]
TEXT = "I loved every minute of it"

client = AuthenticatedClient(os.environ["SOFTPROMPT_URL"], token=os.environ["SOFTPROMPT_API_KEY"])


def publish() -> None:
    manifest = json.loads((CHECKPOINT / "manifest.json").read_text())
    del manifest["description"]  # it is a field of the task
    for number, stop in enumerate(([], ["\n"]), start=1):
        with (
            (CHECKPOINT / "adapter_config.json").open("rb") as config,
            (CHECKPOINT / "adapter_model.safetensors").open("rb") as tensors,
        ):
            body = models.CheckpointUpload(
                adapter_config=File(config, "adapter_config.json"),
                adapter_model=File(tensors, "adapter_model.safetensors"),
                manifest=json.dumps({**manifest, "stop": stop}),
            )
            answer = versions_publish.sync_detailed(TASK, client=client, body=body)
        assert answer.status_code == 201
        assert isinstance(answer.parsed, models.PublishedVersion)
        assert (answer.parsed.task, answer.parsed.version) == (TASK, number)


def move_alias() -> None:
    before = aliases_get.sync_detailed(TASK, "production", client=client)
    assert isinstance(before.parsed, models.Alias) and before.parsed.version == 1
    etag = before.headers["etag"]
    body = models.MoveAlias(version=2, reason="a round trip")
    moved = aliases_put.sync(TASK, "production", client=client, body=body, if_match=etag)
    assert isinstance(moved, models.Alias) and moved.version == 2
    stale = aliases_put.sync_detailed(TASK, "production", client=client, body=body, if_match=etag)
    assert stale.status_code == 412
    assert isinstance(stale.parsed, models.ErrorBody) and stale.parsed.error.code == "precondition_failed"


def complete() -> None:
    answer = completions_create.sync_detailed(client=client, body=models.CompletionRequest(model=TASK, prompt=TEXT))
    assert isinstance(answer.parsed, models.Completion)
    assert answer.parsed.choices[0].text == "positive"
    assert answer.headers["x-softprompt-version"] == "2"


def stream() -> None:
    body = models.CompletionRequest(model=TASK, prompt=TEXT, stream=True)
    text = ""
    with client.get_httpx_client().stream("POST", "/v1/completions", json=body.to_dict()) as response:
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    for event in events:
        for choice in models.CompletionChunk.from_dict(json.loads(event)).choices:
            text += choice.text
    assert text == "positive"


def classify() -> None:
    body = models.ClassifyRequest(model=TASK, input_=[TEXT, "a waste of money"])
    result = classify_create.sync(client=client, body=body)
    assert isinstance(result, models.ClassifyResult)
    assert [item.label for item in result.data if isinstance(item, models.Classification)] == ["positive", "negative"]


def tune() -> None:
    rows = [{"text": f"order {row} is late", "label": ("refund", "wait")[row % 2]} for row in range(24)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    upload = models.FileUpload(File(lines.encode(), "train.jsonl"), models.FileUploadPurpose.FINE_TUNE)  # type: ignore[arg-type]
    file = files_create.sync(client=client, body=upload)
    listed = models_list.sync(client=client)
    assert isinstance(file, models.FileObject) and isinstance(listed, models.ModelList)
    body = models.CreateJob(
        model=next(one.id for one in listed.data if not one.parent),
        training_file=file.id,
        suffix=f"{TASK}-tuned",
        hyperparameters=models.Hyperparameters(num_steps=2),
    )
    job = fine_tuning_create.sync(client=client, body=body)
    assert isinstance(job, models.Job)
    fine_tuning_cancel.sync(job.id, client=client)
    found = fine_tuning_get.sync(job.id, client=client)
    assert isinstance(found, models.Job) and found.training_file == file.id


def not_found() -> None:
    answer = tasks_get.sync_detailed("nobody-made-it", client=client)
    assert answer.status_code == 404
    assert isinstance(answer.parsed, models.ErrorBody) and answer.parsed.error.code == "task_not_found"


for step in (publish, move_alias, complete, stream, classify, tune, not_found):
    step()
    print(f"passed: {step.__name__}")
