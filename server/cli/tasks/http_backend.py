"""The tasks of a server, over its HTTP API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from prompts_store.checkpoint.left_out import uncompared
from prompts_store.names import TaskReference, check_task_name
from prompts_store.records import Alias, AliasMove, AliasTarget, TaskRecord
from prompts_store.reports import PurgeReport
from server.cli.connection import Connection, json_object
from server.cli.errors import ServerRefused
from server.cli.tasks.backend import PRODUCTION, VersionSummary
from server.cli.tasks.publication import CheckpointFiles, EnsemblePublication, Publication, PublishResult

CREATED, NOT_FOUND = 201, 404
MAX_SENT_BYTES = 1024**3
"""Of a checkpoint's tensors. It bounds the memory of this command; the server decides by its own --max-tensor-bytes."""


@dataclass(frozen=True, slots=True)
class HttpTaskBackend:
    """The backend of a server."""

    connection: Connection

    @property
    def max_tensor_bytes(self) -> int:
        return MAX_SENT_BYTES

    def list_tasks(self) -> Sequence[TaskRecord]:
        return [_task(task) for task in self.connection.pages("/v1/tasks", cursor="after", key="name")]

    def get_task(self, task: str) -> TaskRecord:
        return _task(self.connection.read(_path(task)))

    def list_versions(self, task: str) -> Sequence[VersionSummary]:
        return [
            _version(item) for item in self.connection.pages(_path(task, "versions"), cursor="before", key="version")
        ]

    def list_aliases(self, task: str) -> Sequence[Alias]:
        return [_alias_of(task, item) for item in self.connection.read(_path(task, "aliases"))["data"]]

    def get_version(self, reference: str) -> VersionSummary:
        found = TaskReference.parse(reference)
        number = found.version or self._alias(found.task, found.alias or PRODUCTION)[0].version
        return _version(self.connection.read(_path(found.task, "versions", number)))

    def publish(self, publication: Publication) -> PublishResult:
        manifest = {**publication.manifest, "allow_base_mismatch": publication.allow_base_mismatch}
        response = self.connection.send(
            "POST",
            _path(publication.task, "versions"),
            files={
                "adapter_config": ("adapter_config.json", publication.files.config, "application/json"),
                "adapter_model": ("adapter_model.safetensors", publication.files.tensors, "application/octet-stream"),
            },
            data={
                "manifest": json.dumps(manifest),
                "promote": str(publication.promote).lower(),
                "description": publication.description,
            },
        )
        published = _publish_result(response)
        left_out = publication.files.left_out
        left_here = () if left_out is None else left_out.entries
        return replace(published, notes=(*(uncompared(entry).describe() for entry in left_here), *published.notes))

    def publish_ensemble(self, publication: EnsemblePublication) -> PublishResult:
        fields = {
            "members": json.dumps(publication.members),
            "manifest": json.dumps(publication.manifest),
            "promote": str(publication.promote).lower(),
        }
        # Parts without a file name are fields. From `data`, httpx makes a multipart body only if there is a file.
        parts = {name: (None, value.encode()) for name, value in fields.items()}
        return _publish_result(self.connection.send("POST", _path(publication.task, "versions"), files=parts))

    def set_alias(self, alias: Alias, reason: str) -> Alias:
        """Read the alias, then move it on condition that nobody has moved it meanwhile."""
        try:
            _, etag = self._alias(alias.task, alias.alias)
        except ServerRefused as error:
            if error.status != NOT_FOUND:
                raise
            return self._move(alias, reason, {"if-none-match": "*"})
        return self._move(alias, reason, {"if-match": etag})

    def delete_alias(self, task: str, alias: str, reason: str) -> None:
        self.connection.send("DELETE", _path(task, "aliases", alias), params={"reason": reason})

    def rollback(self, task: str, alias: str, reason: str) -> Alias:
        response = self.connection.send("POST", _path(task, "aliases", alias, "rollback"), json={"reason": reason})
        return _alias_of(task, json_object(response))

    def history(self, task: str, alias: str) -> Sequence[AliasMove]:
        moves = self.connection.read(_path(task, "aliases", alias, "history"))["data"]
        return [_alias_move(task, alias, move) for move in moves]

    def retire(self, task: str, version: int) -> None:
        self.connection.send("DELETE", _path(task, "versions", version))

    def delete(self, task: str) -> None:
        self.connection.send("DELETE", _path(task))

    def purge(self, task: str) -> PurgeReport:
        body = json_object(self.connection.send("DELETE", _path(task), params={"purge": "true"}))
        return PurgeReport(**{field.name: body[field.name] for field in fields(PurgeReport) if field.name in body})

    def read_files(self, task: str, version: int) -> CheckpointFiles:
        config, tensors = (
            self.connection.send("GET", _path(task, "versions", version, file)).content
            for file in ("adapter_config.json", "adapter_model.safetensors")
        )
        return CheckpointFiles(config, tensors)

    def time_text(self, moment: datetime) -> str:
        return moment.isoformat().replace("+00:00", "Z")

    def _alias(self, task: str, alias: str) -> tuple[Alias, str]:
        response = self.connection.send("GET", _path(task, "aliases", alias))
        return _alias_of(task, json_object(response)), response.headers["etag"]

    def _move(self, alias: Alias, reason: str, condition: dict[str, str]) -> Alias:
        path = _path(alias.task, "aliases", alias.alias)
        body = {"targets": list(map(asdict, alias.targets)), "shadow_of": alias.shadow_of, "reason": reason}
        return _alias_of(alias.task, json_object(self.connection.send("PUT", path, json=body, headers=condition)))


def _path(task: str, *parts: str | int) -> str:
    check_task_name(task)
    return "/".join(("/v1/tasks", *(quote(str(part), safe="") for part in (task, *parts))))


def _publish_result(response: httpx.Response) -> PublishResult:
    body = json_object(response)
    notes = tuple(tensor["note"] for tensor in body.get("left_out", ()))
    return PublishResult(body["task"], body["version"], body["digest"], response.status_code == CREATED, notes)


def _task(body: dict[str, Any]) -> TaskRecord:
    return TaskRecord(
        name=body["name"],
        description=body["description"],
        created_at=datetime.fromisoformat(body["created_at"]),
        latest_version=body["latest_version"],
        production_version=body["production_version"],
    )


def _version(body: dict[str, Any]) -> VersionSummary:
    return VersionSummary(
        version=body["version"],
        digest=body["digest"],
        peft_type=body["peft_type"],
        num_virtual_tokens=body["num_virtual_tokens"],
        created_at=datetime.fromisoformat(body["created_at"]),
        manifest=body["manifest"],
        members=tuple(body.get("members", ())),
    )


def _alias_of(task: str, body: dict[str, Any]) -> Alias:
    return Alias(task, body["alias"], _targets(body["targets"]), body.get("shadow_of"))


def _alias_move(task: str, alias: str, body: dict[str, Any]) -> AliasMove:
    return AliasMove(
        task=task,
        alias=alias,
        from_targets=_targets(body["from_targets"]),
        to_targets=_targets(body["to_targets"]),
        shadow_of=body.get("shadow_of"),
        moved_at=datetime.fromisoformat(body["moved_at"]),
        moved_by=body["moved_by"],
        reason=body["reason"],
    )


def _targets(bodies: Sequence[dict[str, Any]]) -> tuple[AliasTarget, ...]:
    return tuple(AliasTarget(body["version"], body["weight"]) for body in bodies)
