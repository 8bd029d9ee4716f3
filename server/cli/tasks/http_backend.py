"""Tasks on a server, over its HTTP API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import quote

import httpx

from prompts_store.names import TaskReference, check_task_name
from server.cli.connection import Connection, json_object
from server.cli.errors import ServerRefused
from server.cli.tasks.backend import PRODUCTION
from server.cli.tasks.views import (
    AliasPlace,
    AliasView,
    CheckpointFiles,
    EnsemblePublication,
    MoveView,
    Publication,
    PublishedView,
    PurgedView,
    TargetView,
    TaskView,
    VersionView,
)

CREATED, NOT_FOUND = 201, 404
MAX_SENT_BYTES = 1024**3
"""Of a checkpoint's tensors. It bounds the memory of this command; the server decides by its own --max-tensor-bytes."""


@dataclass(frozen=True, slots=True)
class HttpTaskBackend:
    """A backend over a connection to a server."""

    connection: Connection

    @property
    def max_tensor_bytes(self) -> int:
        return MAX_SENT_BYTES

    def list_tasks(self) -> Sequence[TaskView]:
        return [_task_view(task) for task in self.connection.pages("/v1/tasks", cursor="after", key="name")]

    def get_task(self, task: str) -> TaskView:
        return _task_view(self.connection.read(_path(task)))

    def list_versions(self, task: str) -> Sequence[VersionView]:
        return [
            _version_view(item)
            for item in self.connection.pages(_path(task, "versions"), cursor="before", key="version")
        ]

    def list_aliases(self, task: str) -> Sequence[AliasView]:
        return [_alias_view(task, item) for item in self.connection.read(_path(task, "aliases"))["data"]]

    def get_version(self, reference: str) -> VersionView:
        found = TaskReference.parse(reference)
        number = found.version or self._alias(found.task, found.alias or PRODUCTION)[0].version
        return _version_view(self.connection.read(_path(found.task, "versions", number)))

    def publish(self, publication: Publication) -> PublishedView:
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
        return _published_view(response)

    def publish_ensemble(self, publication: EnsemblePublication) -> PublishedView:
        fields = {
            "members": json.dumps(publication.members),
            "manifest": json.dumps(publication.manifest),
            "promote": str(publication.promote).lower(),
        }
        # Parts without a file name: fields of a multipart body, which httpx makes of `data` only beside a file.
        parts = {name: (None, value.encode()) for name, value in fields.items()}
        return _published_view(self.connection.send("POST", _path(publication.task, "versions"), files=parts))

    def set_alias(self, place: AliasPlace) -> AliasView:
        """Read where the alias points, then move it from there."""
        try:
            _, etag = self._alias(place.task, place.alias)
        except ServerRefused as error:
            if error.status != NOT_FOUND:
                raise
            return self._move(place, {"if-none-match": "*"})
        return self._move(place, {"if-match": etag})

    def delete_alias(self, task: str, alias: str, reason: str) -> None:
        self.connection.send("DELETE", _path(task, "aliases", alias), params={"reason": reason})

    def rollback(self, task: str, alias: str, reason: str) -> AliasView:
        response = self.connection.send("POST", _path(task, "aliases", alias, "rollback"), json={"reason": reason})
        return _alias_view(task, json_object(response))

    def history(self, task: str, alias: str) -> Sequence[MoveView]:
        moves = self.connection.read(_path(task, "aliases", alias, "history"))["data"]
        return [_move_view(alias, move) for move in moves]

    def retire(self, task: str, version: int) -> None:
        self.connection.send("DELETE", _path(task, "versions", version))

    def delete(self, task: str) -> None:
        self.connection.send("DELETE", _path(task))

    def purge(self, task: str) -> PurgedView:
        body = json_object(self.connection.send("DELETE", _path(task), params={"purge": "true"}))
        return PurgedView(**{field.name: body[field.name] for field in fields(PurgedView) if field.name in body})

    def read_files(self, task: str, version: int) -> CheckpointFiles:
        config, tensors = (
            self.connection.send("GET", _path(task, "versions", version, file)).content
            for file in ("adapter_config.json", "adapter_model.safetensors")
        )
        return CheckpointFiles(config, tensors)

    def _alias(self, task: str, alias: str) -> tuple[AliasView, str]:
        response = self.connection.send("GET", _path(task, "aliases", alias))
        return _alias_view(task, json_object(response)), response.headers["etag"]

    def _move(self, place: AliasPlace, condition: dict[str, str]) -> AliasView:
        path = _path(place.task, "aliases", place.alias)
        body = {
            "targets": [asdict(target) for target in place.targets],
            "shadow_of": place.shadow_of,
            "reason": place.reason,
        }
        return _alias_view(place.task, json_object(self.connection.send("PUT", path, json=body, headers=condition)))


def _path(task: str, *parts: str | int) -> str:
    check_task_name(task)
    return "/".join(("/v1/tasks", *(quote(str(part), safe="") for part in (task, *parts))))


def _published_view(response: httpx.Response) -> PublishedView:
    body = json_object(response)
    return PublishedView(body["task"], body["version"], body["digest"], response.status_code == CREATED)


def _task_view(task: dict[str, Any]) -> TaskView:
    return TaskView(
        task["name"], task.get("description", ""), task.get("latest_version"), task.get("production_version")
    )


def _version_view(version: dict[str, Any]) -> VersionView:
    return VersionView(
        version=version["version"],
        digest=version["digest"],
        peft_type=version["peft_type"],
        num_virtual_tokens=version["num_virtual_tokens"],
        created_at=str(version["created_at"]),
        manifest=version["manifest"],
        members=tuple(version.get("members", ())),
    )


def _alias_view(task: str, alias: dict[str, Any]) -> AliasView:
    return AliasView(task, alias["alias"], alias["version"], _target_views(alias["targets"]), alias.get("shadow_of"))


def _move_view(alias: str, move: dict[str, Any]) -> MoveView:
    return MoveView(
        alias=alias,
        from_targets=_target_views(move["from_targets"]),
        to_targets=_target_views(move["to_targets"]),
        shadow_of=move.get("shadow_of"),
        moved_at=str(move["moved_at"]),
        moved_by=move["moved_by"],
        reason=move["reason"],
    )


def _target_views(targets: Sequence[dict[str, Any]]) -> tuple[TargetView, ...]:
    return tuple(TargetView(target["version"], target["weight"]) for target in targets)
