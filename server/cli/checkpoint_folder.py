"""A version as a folder: a PEFT checkpoint's two files, and the manifest beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.cli.errors import FilesProblem
from server.cli.views import CheckpointFiles, Publication

CONFIG, TENSORS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
OURS: Mapping[str, type] = {"description": str, "allow_base_mismatch": bool}


def read_checkpoint(folder: Path) -> CheckpointFiles:
    """Read the two files of a checkpoint, unchecked. Raises FilesProblem."""
    if not (folder / TENSORS).exists() and (folder / "adapter_model.bin").exists():
        raise FilesProblem(f"{folder} holds a pickle; save the adapter with safe_serialization=True")
    return CheckpointFiles(_read(folder / CONFIG), _read(folder / TENSORS))


def read_manifest(folder: Path, file: Path | None) -> dict[str, Any]:
    """Read a manifest's JSON object: of `file`, else of the folder; empty where the folder has none.

    Besides what a version's manifest holds, it may have `description` (text) and `allow_base_mismatch` (a boolean).
    Raises FilesProblem.
    """
    if file is None and not (folder / MANIFEST).exists():
        return {}
    path = file or folder / MANIFEST
    try:
        manifest = json.loads(_read(path))
    except ValueError as error:
        raise FilesProblem(f"{path} is not JSON") from error
    if not isinstance(manifest, dict):
        raise FilesProblem(f"{path} is not a JSON object")
    for field, kind in OURS.items():
        if not isinstance(manifest.get(field, kind()), kind):
            raise FilesProblem(f"{path}: {field} is of the wrong type")
    return manifest


def read_publication(folder: Path, manifest: Path | None = None, *, promote: bool = False) -> Publication:
    """Read a checkpoint with its manifest as a version to be, of the task of the folder's name. Raises FilesProblem."""
    contents = read_manifest(folder, manifest)
    return Publication(
        task=folder.resolve().name,
        description=contents.pop("description", ""),
        files=read_checkpoint(folder),
        allow_base_mismatch=contents.pop("allow_base_mismatch", False),
        promote=promote,
        manifest=contents,
    )


def write_version(folder: Path, files: CheckpointFiles, manifest: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write a version as a folder, made where it is missing. Raises FilesProblem."""
    _write(folder, {CONFIG: files.config, TENSORS: files.tensors, MANIFEST: _as_json(manifest)}, overwrite=overwrite)


def write_manifest(folder: Path, manifest: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write a manifest into a folder, made where it is missing. Raises FilesProblem."""
    _write(folder, {MANIFEST: _as_json(manifest)}, overwrite=overwrite)


def _as_json(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()


def _write(folder: Path, contents: Mapping[str, bytes], *, overwrite: bool) -> None:
    standing = [name for name in contents if (folder / name).exists()]
    if standing and not overwrite:
        raise FilesProblem(f"{folder / standing[0]} exists already; --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise FilesProblem(f"cannot write {folder}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FilesProblem(f"cannot read {path}: {error.strerror}") from error
