"""The demo model's checkpoints, as files to choose and as versions of other tasks."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from server.demo import TASKS_DIR

FILES = {"adapter_config": "adapter_config.json", "adapter_model": "adapter_model.safetensors"}
"""File names by their parts of an upload."""


def demo_files(source: str) -> list[Path]:
    """Both files of a demo task's checkpoint."""
    return [TASKS_DIR / source / name for name in FILES.values()]


def publish(api: httpx.Client, task: str, *sources: str, **manifest: object) -> None:
    """Publish the checkpoints of demo tasks as versions 1, 2 and so on of a task."""
    for source in sources:
        files = {part: (name, (TASKS_DIR / source / name).read_bytes()) for part, name in FILES.items()}
        data = {"manifest": json.dumps({"template": " {input} ->\n", "labels": ["good", "bad"], **manifest})}
        response = api.post(f"/v1/tasks/{task}/versions", files=files, data=data)
        assert response.status_code == 201, response.text
