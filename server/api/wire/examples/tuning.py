"""Examples of files and tuning jobs: a job that tunes `urgency`."""

from __future__ import annotations

from server.api.wire import files, tuning
from server.api.wire.examples.inference import BASE, CREATED
from server.api.wire.examples.tasks import TEMPLATE

_FILE_ID, _JOB_ID, _TASK = "file-1", "ftjob-1", "urgency"
_LABELS = ["whisper", "shout"]
_GATE = tuning.GateBody(metric="label_accuracy", min_score=0.9, not_worse_than_production=True)
_FILE = files.FileObject(
    id=_FILE_ID,
    object="file",
    bytes=18_204,
    created_at=CREATED,
    filename="train.jsonl",
    purpose="fine-tune",
    status="processed",
    sha256="5d2f6cd1c6e5c5b3f43ec4f3b1c2a1f1c1c0f6f3d0a4f5b6e7d8c9bacbdcedfe",
)
_HYPERPARAMETERS = tuning.JobHyperparameters(
    n_epochs="auto",
    batch_size=16,
    learning_rate_multiplier="auto",
    learning_rate=None,
    method="PROMPT_TUNING",
    initialisation="LABELS",
    init_text=None,
    num_virtual_tokens=16,
    encoder_hidden_size=None,
    num_steps=200,
    optimizer="ADAMW",
    schedule="COSINE",
    warmup_steps=10,
    weight_decay=0.0,
    max_grad_norm=1.0,
    validate_every=20,
    patience=5,
    max_extensions=0,
)


def _job(status: tuning.Status) -> tuning.Job:
    return tuning.Job(
        id=_JOB_ID,
        object="fine_tuning.job",
        created_at=CREATED,
        finished_at=CREATED + 90 if status == "cancelled" else None,
        estimated_finish=CREATED + 300 if status == "running" else None,
        status=status,
        error=None,
        model=BASE,
        fine_tuned_model=None,
        organization_id="softprompt-server",
        result_files=[],
        training_file=_FILE_ID,
        validation_file=None,
        trained_tokens=None,
        hyperparameters=_HYPERPARAMETERS,
        method=tuning.JobMethod(type="supervised", supervised=tuning.JobSupervised(hyperparameters=_HYPERPARAMETERS)),
        integrations=[],
        seed=0,
        metadata={"team": "support"},
        task=_TASK,
        version=None,
        template=TEMPLATE,
        chat_template=False,
        labels=_LABELS,
        promote=True,
        gate=_GATE,
        metrics={},
    )


_RUNNING = _job("running")

EXAMPLES = (
    tuning.PreviewJob(examples=[{"text": "We meet at noon.", "label": "whisper"}], template=TEMPLATE),
    tuning.JobPreview(
        object="fine_tuning.preview",
        model=BASE,
        template=TEMPLATE,
        add_special_tokens=False,
        chat_template=False,
        hyperparameters=_HYPERPARAMETERS,
        max_model_len=512,
        max_file_bytes=67_108_864,
        examples=[
            tuning.PreviewedExample(
                line=1,
                tokens=[
                    tuning.PreviewedToken(id=541, text=" We meet at noon. ->\n", learnt=False),
                    tuning.PreviewedToken(id=1207, text="whisper", learnt=True),
                ],
            )
        ],
    ),
    _FILE,
    files.FileList(object="list", data=[_FILE], has_more=False, first_id=_FILE_ID, last_id=_FILE_ID),
    files.FileDeleted(id=_FILE_ID, object="file", deleted=True),
    tuning.CreateJob(
        model=BASE,
        training_file=_FILE_ID,
        suffix=_TASK,
        hyperparameters=tuning.Hyperparameters(num_steps=200, num_virtual_tokens=16),
        labels=_LABELS,
        promote=True,
        gate=_GATE,
        metadata={"team": "support"},
    ),
    _RUNNING,
    tuning.JobList(object="list", data=[_RUNNING], has_more=False),
    tuning.JobEventList(
        object="list",
        data=[
            tuning.JobEvent(
                id="ftevent-12",
                object="fine_tuning.job.event",
                created_at=CREATED + 40,
                level="info",
                message="Step 40/200: loss 0.4120.",
                type="metrics",
                data={"step": 40, "num_steps": 200, "loss": 0.412},
            )
        ],
        has_more=True,
    ),
    tuning.JobCheckpointList(
        object="list",
        data=[
            tuning.JobCheckpoint(
                id="ftckpt-1",
                object="fine_tuning.job.checkpoint",
                created_at=CREATED + 60,
                fine_tuned_model_checkpoint=f"{_TASK}:step-60",
                fine_tuning_job_id=_JOB_ID,
                step_number=60,
                metrics={"step": 60, "train_loss": 0.305, "valid_loss": 0.331},
            )
        ],
        has_more=False,
        first_id="ftckpt-1",
        last_id="ftckpt-1",
    ),
)
AFTER = {
    "fine_tuning_create": _job("validating_files"),
    "fine_tuning_cancel": _job("cancelled"),
    "fine_tuning_pause": _job("paused"),
    "fine_tuning_resume": _job("queued"),
}
"""The job as these operations return it."""
UPLOAD = {"file": '{"text": "WHERE IS MY ORDER", "label": "shout"}\n', "purpose": "fine-tune"}
