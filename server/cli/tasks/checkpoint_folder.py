"""Versions as folders: read to publish, and written by an export. prompts_store.checkpoint.folder reads the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prompts_store.checkpoint.folder import (
    CONFIG,
    MANIFEST,
    TENSORS,
    FolderManifest,
    read_files,
    read_manifest,
    read_manifest_file,
    read_needed,
    read_regular,
)
from prompts_store.limits import MAX_CONFIG_BYTES
from server.cli.errors import FilesProblem
from server.cli.tasks.hub import download
from server.cli.tasks.publication import CheckpointFiles, Publication


def read_publication(
    folder: Path, manifest: Path | None = None, *, max_tensor_bytes: int, promote: bool = False
) -> Publication:
    """Read a checkpoint with its manifest as a publication. The task has the folder's name.

    Raises InvalidFolder and InvalidCheckpoint.
    """
    given = read_manifest(folder) if manifest is None else read_manifest_file(manifest)
    found = read_files(folder, max_tensor_bytes=max_tensor_bytes)
    files = CheckpointFiles(found.config, found.tensors, found.left_out)
    return _publication(folder.resolve().name, files, given, promote=promote)


def read_downloaded(
    hub_id: str, revision: str | None, manifest: Path | None, *, max_tensor_bytes: int, promote: bool
) -> Publication:
    """Download a checkpoint from a hub, and read it as a publication. The task has the last part of the id as its name.

    Without a note in the manifest, the note says where it is from. Raises FilesProblem, InvalidFolder and
    InvalidCheckpoint.
    """
    given = FolderManifest({}) if manifest is None else read_manifest_file(manifest)
    found = download(hub_id, revision)
    name = f"{TENSORS} of {hub_id}"
    needed = read_needed(found.tensors, name, max_tensor_bytes=max_tensor_bytes)
    files = CheckpointFiles(read_regular(found.config, MAX_CONFIG_BYTES), needed.content, needed.left_out)
    given = replace(given, fields={"note": f"from {hub_id}@{found.commit}", **given.fields})
    return _publication(hub_id.rpartition("/")[2], files, given, promote=promote)


def _publication(task: str, files: CheckpointFiles, given: FolderManifest, *, promote: bool) -> Publication:
    return Publication(
        task=task,
        description=given.description,
        files=files,
        allow_base_mismatch=given.allow_base_mismatch,
        promote=promote,
        manifest=given.fields,
    )


def write_version(folder: Path, files: CheckpointFiles, manifest: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write a version into a folder, which is created if missing. Raises FilesProblem."""
    _write(folder, {CONFIG: files.config, TENSORS: files.tensors, MANIFEST: _as_json(manifest)}, overwrite=overwrite)


def write_manifest(folder: Path, manifest: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write a manifest into a folder, which is created if missing. Raises FilesProblem."""
    _write(folder, {MANIFEST: _as_json(manifest)}, overwrite=overwrite)


def _as_json(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()


def _write(folder: Path, contents: Mapping[str, bytes], *, overwrite: bool) -> None:
    existing = [name for name in contents if (folder / name).exists()]
    if existing and not overwrite:
        raise FilesProblem(f"{folder / existing[0]} already exists; --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise FilesProblem(f"cannot write {folder}: {error.strerror}") from error
