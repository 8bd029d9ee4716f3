"""Tasks straight in a database, for when no server runs or none should be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.writer import write_config, write_tensors
from prompts_store.manifest import manifest_to_json, parse_manifest
from prompts_store.names import TaskReference
from prompts_store.records import AliasMove, AliasRecord, AliasTarget, BaseModel, Published, TaskRecord, VersionRecord
from prompts_store.store import Store
from server.cli.errors import BaseUnreadable, FilesProblem, UsageProblem
from server.cli.serving.serve_options import read_settings
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
from server.cli.where import BackendOptions
from server.settings import sqlite_url
from server.tuning.errors import RunNotKept
from server.tuning.kept_runs import KeptRuns, purge_task

PAGE = 100
ACTOR = "cli"


@dataclass(frozen=True, slots=True)
class StoreTaskBackend:
    """A backend over an open store.

    `fingerprint` says whose tasks are meant; `read_base` reads the base model's identity, which only publishing needs.
    `data_dir` is the folder that the database lies in, where it is one's own.
    """

    store: Store
    fingerprint: str
    read_base: Callable[[], BaseModel]
    data_dir: Path | None = None

    @property
    def max_tensor_bytes(self) -> int:
        return self.store.max_tensor_bytes

    def list_tasks(self) -> Sequence[TaskView]:
        found: list[TaskRecord] = []
        while page := self.store.list_tasks(self.fingerprint, after=found[-1].name if found else None, limit=PAGE):
            found.extend(page)
        return [_task_view(task) for task in found]

    def get_task(self, task: str) -> TaskView:
        return _task_view(self.store.get_task(self.fingerprint, task))

    def list_versions(self, task: str) -> Sequence[VersionView]:
        found: list[VersionRecord] = []
        while page := self.store.list_versions(
            self.fingerprint, task, before=found[-1].version if found else None, limit=PAGE
        ):
            found.extend(page)
        return [_version_view(version) for version in found]

    def list_aliases(self, task: str) -> Sequence[AliasView]:
        return [_alias_view(alias) for alias in self.store.list_aliases(self.fingerprint, task)]

    def get_version(self, reference: str) -> VersionView:
        return _version_view(self.store.resolve(self.fingerprint, TaskReference.parse(reference)))

    def publish(self, publication: Publication) -> PublishedView:
        manifest = parse_manifest(publication.manifest)
        base = self.read_base()
        if base.fingerprint != self.fingerprint:
            raise UsageProblem("the database's tasks belong to another base model; name it with --base-model")
        checkpoint = read_checkpoint(
            publication.files.config,
            publication.files.tensors,
            base,
            task_index=manifest.task_index,
            allow_base_mismatch=publication.allow_base_mismatch,
            max_tensor_bytes=self.max_tensor_bytes,
        )
        published = self.store.publish(
            publication.task,
            checkpoint,
            manifest,
            promote=publication.promote,
            description=publication.description,
            actor=ACTOR,
        )
        return _published_view(published)

    def publish_ensemble(self, publication: EnsemblePublication) -> PublishedView:
        manifest = parse_manifest(publication.manifest)
        published = self.store.publish_ensemble(
            self.fingerprint,
            publication.task,
            publication.members,
            manifest,
            promote=publication.promote,
            actor=ACTOR,
        )
        return _published_view(published)

    def set_alias(self, place: AliasPlace) -> AliasView:
        alias = self.store.put_alias(
            self.fingerprint,
            place.task,
            place.alias,
            [AliasTarget(target.version, target.weight) for target in place.targets],
            if_match=None,
            must_not_exist=False,
            shadow_of=place.shadow_of,
            actor=ACTOR,
            reason=place.reason,
        )
        return _alias_view(alias)

    def delete_alias(self, task: str, alias: str, reason: str) -> None:
        self.store.delete_alias(self.fingerprint, task, alias, if_match=None, actor=ACTOR, reason=reason)

    def rollback(self, task: str, alias: str, reason: str) -> AliasView:
        return _alias_view(self.store.rollback(self.fingerprint, task, alias, actor=ACTOR, reason=reason))

    def history(self, task: str, alias: str) -> Sequence[MoveView]:
        return [_move_view(move) for move in self.store.alias_history(self.fingerprint, task, alias)]

    def retire(self, task: str, version: int) -> None:
        self.store.retire_version(self.fingerprint, task, version, actor=ACTOR)

    def delete(self, task: str) -> None:
        self.store.delete_task(self.fingerprint, task, actor=ACTOR)

    def purge(self, task: str) -> PurgedView:
        kept_runs = None if self.data_dir is None else KeptRuns(self.data_dir, self.fingerprint)
        try:
            return PurgedView(**asdict(purge_task(self.store, kept_runs, self.fingerprint, task, actor=ACTOR)))
        except RunNotKept as error:
            raise FilesProblem(str(error)) from error

    def read_files(self, task: str, version: int) -> CheckpointFiles:
        content = self.store.load_content(self.fingerprint, task, version)
        return CheckpointFiles(write_config(content), write_tensors(content.checkpoint))


@contextmanager
def open_store_backend(options: BackendOptions) -> Iterator[StoreTaskBackend]:
    """Open the database that the options name. Raises CliError or StoreError."""
    if options.data_dir is not None and not options.data_dir.expanduser().is_dir():
        raise FilesProblem(f"{options.data_dir} is not a folder")
    url = options.database_url or sqlite_url(options.data_dir or Path())
    store = Store.open(url, max_tensor_bytes=options.max_tensor_bytes)
    data_dir = None if options.database_url or options.data_dir is None else options.data_dir.expanduser()
    try:
        read_base = cache(partial(_read_base, options))
        yield StoreTaskBackend(store, _choose_fingerprint(store.bases(), options, read_base), read_base, data_dir)
    finally:
        store.close()


def _choose_fingerprint(bases: Sequence[str], options: BackendOptions, read_base: Callable[[], BaseModel]) -> str:
    if options.fingerprint is not None:
        return options.fingerprint
    if options.base_model is None and len(bases) == 1:
        return bases[0]
    if options.base_model is None and bases:
        raise UsageProblem(f"the database serves several base models; pass --fingerprint, one of {', '.join(bases)}")
    return read_base().fingerprint


def _read_base(options: BackendOptions) -> BaseModel:
    """Read the base model's identity and numbers, not its weights."""
    from server.base_model_source import read_base_model
    from server.model.errors import ModelError
    from server.tokenizer.errors import TextError

    given = {"base_model": options.base_model, "data_dir": options.data_dir, "insecure": True}
    try:
        return read_base_model(read_settings(given))
    except (ModelError, TextError) as error:
        raise BaseUnreadable(str(error)) from error


def _published_view(published: Published) -> PublishedView:
    version = published.version
    return PublishedView(version.task, version.version, version.digest, published.created)


def _task_view(task: TaskRecord) -> TaskView:
    return TaskView(task.name, task.description, task.latest_version, task.production_version)


def _version_view(version: VersionRecord) -> VersionView:
    return VersionView(
        version=version.version,
        digest=version.digest,
        peft_type=None if version.peft_type is None else version.peft_type.value,
        num_virtual_tokens=version.num_virtual_tokens,
        created_at=version.created_at.isoformat(timespec="seconds"),
        manifest=manifest_to_json(version.manifest),
        members=tuple(member.version for member in version.members),
    )


def _alias_view(alias: AliasRecord) -> AliasView:
    return AliasView(alias.task, alias.alias, alias.version, _target_views(alias.targets), alias.shadow_of)


def _move_view(move: AliasMove) -> MoveView:
    return MoveView(
        alias=move.alias,
        from_targets=_target_views(move.from_targets),
        to_targets=_target_views(move.to_targets),
        shadow_of=move.shadow_of,
        moved_at=move.moved_at.isoformat(timespec="seconds"),
        moved_by=move.moved_by,
        reason=move.reason,
    )


def _target_views(targets: Sequence[AliasTarget]) -> tuple[TargetView, ...]:
    return tuple(TargetView(target.version, target.weight) for target in targets)
