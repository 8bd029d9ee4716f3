"""The tasks of a database, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path

from prompts_store.checkpoint.embedding_check import BaseEmbeddings
from prompts_store.checkpoint.left_out import FileEntries
from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.writer import write_config, write_tensors
from prompts_store.checkpoint_records import BaseModel
from prompts_store.manifest import manifest_to_json, parse_manifest
from prompts_store.names import TaskReference
from prompts_store.records import Alias, AliasMove, Published, TaskRecord, VersionRecord
from prompts_store.reports import PurgeReport
from prompts_store.store import Store
from server.cli.errors import BaseUnreadable, FilesProblem, UsageProblem
from server.cli.serving.serve_options import read_settings
from server.cli.tasks.backend import VersionSummary
from server.cli.tasks.publication import CheckpointFiles, EnsemblePublication, Publication, PublishResult
from server.cli.where import BackendOptions
from server.jobs.purge import purge_task
from server.settings import ServeSettings, sqlite_url
from server.tuning.errors import RunNotKept
from server.tuning.kept_runs import KeptRuns

PAGE = 100
ACTOR = "cli"


@dataclass(frozen=True, slots=True)
class StoreTaskBackend:
    """The backend of an open store.

    `fingerprint` is that of the base model of the tasks. `read_base` reads the base model's identity, which only
    publishing needs. `data_dir` is the data folder of the database, None for a database that is named by its URL.
    `base_embeddings` reads the embedding layers of its files, where a checkpoint holds one of its own.
    """

    store: Store
    fingerprint: str
    read_base: Callable[[], BaseModel]
    data_dir: Path | None = None
    base_embeddings: BaseEmbeddings | None = None

    @property
    def max_tensor_bytes(self) -> int:
        return self.store.max_tensor_bytes

    def list_tasks(self) -> Sequence[TaskRecord]:
        found: list[TaskRecord] = []
        while page := self.store.list_tasks(self.fingerprint, after=found[-1].name if found else None, limit=PAGE):
            found.extend(page)
        return found

    def get_task(self, task: str) -> TaskRecord:
        return self.store.get_task(self.fingerprint, task)

    def list_versions(self, task: str) -> Sequence[VersionSummary]:
        found: list[VersionRecord] = []
        while page := self.store.list_versions(
            self.fingerprint, task, before=found[-1].version if found else None, limit=PAGE
        ):
            found.extend(page)
        return [_summary(version) for version in found]

    def list_aliases(self, task: str) -> Sequence[Alias]:
        return self.store.list_aliases(self.fingerprint, task)

    def get_version(self, reference: str) -> VersionSummary:
        return _summary(self.store.resolve(self.fingerprint, TaskReference.parse(reference)))

    def publish(self, publication: Publication) -> PublishResult:
        manifest = parse_manifest(publication.manifest)
        base = self.read_base()
        if base.fingerprint != self.fingerprint:
            raise UsageProblem("the tasks of the database belong to another base model; name it with --base-model")
        checkpoint = read_checkpoint(
            publication.files.config,
            publication.files.tensors,
            base,
            task_index=manifest.task_index,
            allow_base_mismatch=publication.allow_base_mismatch,
            max_tensor_bytes=self.max_tensor_bytes,
            follow_links=True,
            left_out=publication.files.left_out,
            base_embeddings=self.base_embeddings,
        )
        published = self.store.publish(
            publication.task,
            checkpoint,
            manifest,
            promote=publication.promote,
            description=publication.description,
            actor=ACTOR,
        )
        return replace(_result(published), notes=tuple(tensor.describe() for tensor in checkpoint.left_out))

    def publish_ensemble(self, publication: EnsemblePublication) -> PublishResult:
        manifest = parse_manifest(publication.manifest)
        published = self.store.publish_ensemble(
            self.fingerprint,
            publication.task,
            publication.members,
            manifest,
            promote=publication.promote,
            actor=ACTOR,
        )
        return _result(published)

    def set_alias(self, alias: Alias, reason: str) -> Alias:
        return self.store.put_alias(
            self.fingerprint,
            alias.task,
            alias.alias,
            alias.targets,
            if_match=None,
            must_not_exist=False,
            shadow_of=alias.shadow_of,
            actor=ACTOR,
            reason=reason,
        )

    def delete_alias(self, task: str, alias: str, reason: str) -> None:
        self.store.delete_alias(self.fingerprint, task, alias, if_match=None, actor=ACTOR, reason=reason)

    def rollback(self, task: str, alias: str, reason: str) -> Alias:
        return self.store.rollback(self.fingerprint, task, alias, actor=ACTOR, reason=reason)

    def history(self, task: str, alias: str) -> Sequence[AliasMove]:
        return self.store.alias_history(self.fingerprint, task, alias)

    def retire(self, task: str, version: int) -> None:
        self.store.retire_version(self.fingerprint, task, version, actor=ACTOR)

    def delete(self, task: str) -> None:
        self.store.delete_task(self.fingerprint, task, actor=ACTOR)

    def purge(self, task: str) -> PurgeReport:
        kept_runs = None if self.data_dir is None else KeptRuns(self.data_dir, self.fingerprint)
        try:
            return purge_task(self.store, kept_runs, self.fingerprint, task, actor=ACTOR)
        except RunNotKept as error:
            raise FilesProblem(str(error)) from error

    def read_files(self, task: str, version: int) -> CheckpointFiles:
        content = self.store.load_content(self.fingerprint, task, version)
        return CheckpointFiles(write_config(content), write_tensors(content.checkpoint))

    def time_text(self, moment: datetime) -> str:
        return moment.isoformat(timespec="seconds")


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
        fingerprint = _choose_fingerprint(store.bases(), options, read_base)
        yield StoreTaskBackend(store, fingerprint, read_base, data_dir, partial(_read_embeddings, options))
    finally:
        store.close()


def _choose_fingerprint(bases: Sequence[str], options: BackendOptions, read_base: Callable[[], BaseModel]) -> str:
    if options.fingerprint is not None:
        return options.fingerprint
    if options.base_model is None and len(bases) == 1:
        return bases[0]
    if options.base_model is None and bases:
        raise UsageProblem(f"the database has several base models; pass --fingerprint, one of {', '.join(bases)}")
    return read_base().fingerprint


def _read_base(options: BackendOptions) -> BaseModel:
    """Read the base model's identity and sizes, not its weights."""
    from server.base_model_source import read_base_model
    from server.model.errors import ModelError
    from server.tokenizer.errors import TextError

    try:
        return read_base_model(_settings_of(options))
    except (ModelError, TextError) as error:
        raise BaseUnreadable(str(error)) from error


def _read_embeddings(options: BackendOptions) -> Sequence[FileEntries]:
    from server.base_model_source import base_embeddings

    return base_embeddings(_settings_of(options))()


def _settings_of(options: BackendOptions) -> ServeSettings:
    return read_settings({"base_model": options.base_model, "data_dir": options.data_dir, "insecure": True})


def _result(published: Published) -> PublishResult:
    version = published.version
    return PublishResult(version.task, version.version, version.digest, published.created)


def _summary(version: VersionRecord) -> VersionSummary:
    return VersionSummary(
        version=version.version,
        digest=version.digest,
        peft_type=None if version.peft_type is None else version.peft_type.value,
        num_virtual_tokens=version.num_virtual_tokens,
        created_at=version.created_at,
        manifest=manifest_to_json(version.manifest),
        members=tuple(member.version for member in version.members),
    )
