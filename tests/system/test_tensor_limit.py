"""A real server takes its `--max-tensor-bytes` everywhere: store, upload, tuning job and tasks folder."""

from __future__ import annotations

import httpx

from server.app import open_workbench
from server.settings import ServeSettings
from tests.system.live_server import HIDDEN_SIZE, checkpoint, live_server, tiny_base

LIMIT = 1024
FITS, EXCEEDS = (LIMIT // (4 * HIDDEN_SIZE) + extra for extra in (0, 1))


def test_the_setting_reaches_everything_that_publishes(tmp_path, caplog):
    """Nine virtual tokens are one too many for an upload, for a job, and for the operator's own folder."""
    task = tmp_path / "tasks" / "mood"
    task.mkdir(parents=True)
    for name, file in (("adapter_config", "adapter_config.json"), ("adapter_model", "adapter_model.safetensors")):
        (task / file).write_bytes(checkpoint(1, EXCEEDS)[name])
    settings = {"base_model": str(tiny_base(tmp_path / "base")), "data_dir": tmp_path, "max_tensor_bytes": LIMIT}
    with (
        live_server(**settings, tasks_dir=tmp_path / "tasks", num_kv_blocks=64) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        assert f"take more than {LIMIT} bytes as float32" in caplog.text
        assert server.services.store_access.store.max_tensor_bytes == LIMIT
        assert refusal(client, EXCEEDS) == ("hyperparameters.num_virtual_tokens", f"at most {LIMIT} are published")
        assert refusal(client, FITS) == (None, "")
    with open_workbench(ServeSettings(**settings, num_kv_blocks=64)) as bench:
        assert bench.store.max_tensor_bytes == LIMIT


def refusal(client: httpx.Client, num_virtual_tokens: int) -> tuple[str | None, str]:
    """Why a job whose file is missing is refused: the parameter, and the limit that the message names."""
    model = client.get("/v1/models").json()["data"][0]["id"]
    response = client.post(
        "/v1/fine_tuning/jobs",
        json={
            "model": model,
            "suffix": "dates",
            "training_file": "file-99",
            "hyperparameters": {"num_virtual_tokens": num_virtual_tokens},
        },
    )
    error = response.json()["error"]
    return error["param"], error["message"].partition(", and ")[2].partition(" (")[0]
