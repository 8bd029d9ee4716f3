"""Ensembles as folders: a manifest that names the members in their order, and a folder per member."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from prompts_store.checkpoint.folder import CONFIG, MANIFEST, read_manifest
from prompts_store.limits import MAX_MEMBERS, MIN_MEMBERS
from server.cli.errors import FilesProblem
from server.cli.tasks.backend import TaskBackend, VersionSummary
from server.cli.tasks.checkpoint_folder import read_publication, write_manifest, write_version
from server.cli.tasks.publication import EnsemblePublication, PublishResult

MEMBERS = "members"


def is_ensemble(folder: Path) -> bool:
    """Return whether a folder holds an ensemble: it has a manifest and no configuration."""
    return not os.path.lexists(folder / CONFIG) and os.path.lexists(folder / MANIFEST)


def publish_folder(backend: TaskBackend, folder: Path, *, promote: bool) -> PublishResult:
    """Publish a checkpoint, or an ensemble with its members. The task has the folder's name.

    Raises FilesProblem and InvalidFolder.
    """
    if is_ensemble(folder):
        return publish_members(backend, folder, folder.resolve().name, note=None, promote=promote)
    return backend.publish(read_publication(folder, max_tensor_bytes=backend.max_tensor_bytes, promote=promote))


def publish_members(backend: TaskBackend, folder: Path, task: str, *, note: str | None, promote: bool) -> PublishResult:
    """Publish the members of an ensemble that the task lacks, then the ensemble.

    Raises FilesProblem and InvalidFolder.
    """
    contents = dict(read_manifest(folder).fields)
    members = contents.pop(MEMBERS, None)
    if not isinstance(members, list) or not all(map(_is_plain_name, members)):
        raise FilesProblem(f"{folder} has neither an {CONFIG} nor a {MANIFEST} that names the folders of its members")
    if not MIN_MEMBERS <= len(members) <= MAX_MEMBERS:
        raise FilesProblem(f"{folder / MANIFEST} must name {MIN_MEMBERS} to {MAX_MEMBERS} members")
    read = partial(read_publication, max_tensor_bytes=backend.max_tensor_bytes)
    publications = [replace(read(folder / member), task=task) for member in members]
    manifest = contents | ({} if note is None else {"note": note})
    members_published = [backend.publish(publication) for publication in publications]
    versions = tuple(member.version for member in members_published)
    published = backend.publish_ensemble(EnsemblePublication(task, versions, manifest, promote))
    return replace(published, notes=tuple(note for member in members_published for note in member.notes))


def write_ensemble(backend: TaskBackend, folder: Path, task: str, ensemble: VersionSummary, *, overwrite: bool) -> None:
    """Write an ensemble into a folder. Raises FilesProblem."""
    for number in ensemble.members:
        member = backend.get_version(f"{task}@{number}")
        write_version(folder / str(number), backend.read_files(task, number), member.manifest, overwrite=overwrite)
    write_manifest(folder, {**ensemble.manifest, MEMBERS: list(map(str, ensemble.members))}, overwrite=overwrite)


def _is_plain_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name
