"""Publishes a folder of PEFT checkpoints once: the demo's tasks, into a new store."""

from __future__ import annotations

from pathlib import Path

from prompts_store.checkpoint_records import BaseModel
from prompts_store.records import Published
from prompts_store.store import Store
from server.soft_prompts.tasks_folder import publish_checkpoint


def publish_folder(store: Store, base: BaseModel, folder: Path, actor: str) -> list[Published]:
    """Publish each `folder/<task>/`. Raises what `publish_checkpoint` raises."""
    return [
        publish_checkpoint(store, base, task, promote=False, actor=actor)
        for task in sorted(folder.iterdir())
        if task.is_dir()
    ]
