"""Examples of tasks, versions and aliases: a second version of `sentiment` takes a tenth of the callers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from server.api.wire import tasks
from server.api.wire.examples.inference import BASE, DATE_ISO, SENTIMENT

CREATED_AT = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
MOVED_AT = datetime(2026, 3, 9, 14, 30, tzinfo=UTC)
AUTHOR = "key:ci"
FINGERPRINT = "ba71de88b9cac999d73f47d030c7bc98371923b74785d3e068bfe924746dfe2d"
PREFIX_DIGEST = "ade1bbd830c34dca8d6c28da0221ca6c1022f77e685fb0223cad216256ea5ca5"
TEMPLATE = " {input} ->\n"
LABELS = ["positive", "negative"]
_REASON = "A canary for the second version."


def _task(name: str, description: str) -> tasks.Task:
    return tasks.Task(
        object="task",
        name=name,
        description=description,
        created_at=CREATED_AT,
        latest_version=2,
        production_version=1,
    )


_SENTIMENT = _task(SENTIMENT, "Says whether an opinion in English is positive or negative.")
_DATE_ISO = _task(DATE_ISO, "Rewrites a date in English, however it is spelled, as YYYY-MM-DD.")
_VERSION = tasks.Version(
    object="task.version",
    task=SENTIMENT,
    version=2,
    digest="16696c4e7fb0368a2ea5350cbe99dd1437d26d3b46270ad2ccbb3c4253ff7579",
    prefix_digest=PREFIX_DIGEST,
    peft_type="PROMPT_TUNING",
    num_virtual_tokens=12,
    members=[],
    base_model_name=BASE,
    base_fingerprint=FINGERPRINT,
    manifest=tasks.VersionManifest(
        template=TEMPLATE,
        labels=LABELS,
        stop=[],
        add_special_tokens=False,
        defaults={"temperature": 0, "max_tokens": 4},
        task_index=None,
        metrics={"heldout_exact_match": 0.98, "heldout_n": 200},
        note="One opinion at a time.",
        parent_version=1,
        training_data_digest=None,
    ),
    created_at=MOVED_AT,
    created_by=AUTHOR,
    retired_at=None,
)
_OLD_TARGETS = [tasks.AliasTarget(version=1, weight=1)]
_TARGETS = [tasks.AliasTarget(version=1, weight=90), tasks.AliasTarget(version=2, weight=10)]
_ALIAS = tasks.Alias(
    object="task.alias",
    task=SENTIMENT,
    alias="production",
    version=1,
    targets=_TARGETS,
    shadow_of=None,
    updated_at=MOVED_AT,
    updated_by=AUTHOR,
    reason=_REASON,
)

EXAMPLES = (
    tasks.CreateTask(name="urgency", description="Tells a shout from a whisper."),
    _SENTIMENT,
    tasks.TaskList(object="list", data=[_DATE_ISO, _SENTIMENT], has_more=False),
    tasks.Purged(
        object="task.purged",
        task=SENTIMENT,
        num_versions=2,
        num_tensors=1,
        num_tensor_bytes=12_288,
        num_shared_tensors=1,
        num_alias_moves=3,
        num_jobs=1,
        num_files=1,
        log_is_clear=True,
        num_batches=0,
        num_interrupted_runs=0,
    ),
    _VERSION,
    tasks.PublishedVersion(**dict(_VERSION), created=True, promoted=False),
    tasks.VersionList(object="list", data=[_VERSION], has_more=True),
    tasks.MoveAlias(targets=_TARGETS, reason=_REASON),
    tasks.RollBack(reason="The canary answers too slowly."),
    _ALIAS,
    tasks.AliasList(object="list", data=[_ALIAS]),
    tasks.AliasHistory(
        object="list",
        data=[
            tasks.AliasMove(
                object="task.alias.move",
                from_version=1,
                to_version=1,
                from_targets=_OLD_TARGETS,
                to_targets=_TARGETS,
                shadow_of=None,
                moved_at=MOVED_AT,
                moved_by=AUTHOR,
                reason=_REASON,
            )
        ],
    ),
)
UPLOAD = {
    "adapter_config": "(the file adapter_config.json)",
    "adapter_model": "(the file adapter_model.safetensors)",
    "manifest": json.dumps({"template": TEMPLATE, "add_special_tokens": False, "labels": LABELS}),
    "promote": False,
}
CONFIG = {
    "base_model_name_or_path": BASE,
    "num_virtual_tokens": 12,
    "peft_type": "PROMPT_TUNING",
    "task_type": "CAUSAL_LM",
    "token_dim": 256,
}
