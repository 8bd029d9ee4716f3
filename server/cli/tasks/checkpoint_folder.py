"""Versions as folders: read to publish, and written by an export. prompts_store.checkpoint.folder reads the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prompts_store.checkpoint.folder import CONFIG, MANIFEST, TENSORS, read_files, read_manifest, read_manifest_file
from server.cli.errors import FilesProblem
from server.cli.tasks.publication import CheckpointFiles, Publication


def read_publication(
    folder: Path, manifest: Path | None = None, *, max_tensor_bytes: int, promote: bool = False
) -> Publication:
    """Read a checkpoint with its manifest as a publication. The task has the folder's name. Raises InvalidFolder."""
    given = read_manifest(folder) if manifest is None else read_manifest_file(manifest)
    return Publication(
        task=folder.resolve().name,
        description=given.description,
        files=CheckpointFiles(*read_files(folder, max_tensor_bytes=max_tensor_bytes)),
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
