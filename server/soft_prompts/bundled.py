"""Publishing a folder of PEFT checkpoints: how the demo's tasks get into a new store."""

from __future__ import annotations

import json
from pathlib import Path

from prompts_store.checkpoint_reader import read_checkpoint
from prompts_store.manifest import parse_manifest
from prompts_store.records import BaseModel, Published
from prompts_store.store import Store


def publish_folder(store: Store, base: BaseModel, folder: Path, actor: str) -> list[Published]:
    """Publish each `folder/<task>/` (`adapter_config.json`, `adapter_model.safetensors`, `manifest.json`).

    Raises what the checkpoint reader and the store raise.
    """
    return [_publish(store, base, task, actor) for task in sorted(folder.iterdir()) if task.is_dir()]


def _publish(store: Store, base: BaseModel, folder: Path, actor: str) -> Published:
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    description = fields.pop("description", "")
    manifest = parse_manifest(fields)
    checkpoint = read_checkpoint(
        (folder / "adapter_config.json").read_bytes(),
        (folder / "adapter_model.safetensors").read_bytes(),
        base,
        task_index=manifest.task_index,
        allow_base_mismatch=False,
    )
    return store.publish(base, folder.name, checkpoint, manifest, description=description, actor=actor)
