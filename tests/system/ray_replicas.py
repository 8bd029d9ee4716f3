"""Two replicas by Ray Serve on one PostgreSQL, by the file in docker/ray: swaps under load, and kills.

`make ray-test`, or `python -m tests.system.ray_replicas` with the extra `ray`. The proxy is on loopback, there is no
dashboard, and Ray's own ports ask for a token.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read when Ray is imported. Nothing is reported to anybody; the token is this run's alone, and in no file.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
# A machine that is busy starts a proxy slowly.
os.environ |= {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}

import psutil
import ray
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema

from prompts_store import maintenance
from tests.api.redis_server import free_port
from tests.prompts_store import postgres
from tests.system.asking import NUM_CLIENTS, Address, failures, longest_gap_s
from tests.system.live_server import tiny_base
from tests.system.server_process import ROOT

CONFIGURATION = ROOT / "docker/ray/serve.yaml"
NUM_REPLICAS = 2
START_TIMEOUT_S = 300.0
BACK_WITHIN_S = 10.0


@contextmanager
def replicas() -> Iterator[Address]:
    """Start PostgreSQL, Ray and the replicas. Raises NoPostgres."""
    with ExitStack() as stack:
        cluster = stack.enter_context(postgres.private_cluster())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="softprompt-ray-")))
        maintenance.upgrade(cluster.url())
        ray.init(
            num_cpus=2 * NUM_REPLICAS, num_gpus=0, include_dashboard=False, object_store_memory=200 * 1024**2,
            log_to_driver=False, _temp_dir=str(folder / "ray"),
        )  # fmt: skip
        stack.callback(ray.shutdown)
        port = free_port()
        config = _configuration(tiny_base(folder / "base"), cluster.url(), folder / "data", port)
        serve.start(proxy_location="HeadOnly", http_options=config.pop("http_options"))
        stack.callback(serve.shutdown)
        serve.context._get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
        until_running()
        yield Address(f"http://127.0.0.1:{port}")


def _configuration(base: Path, database_url: str, data_dir: Path, port: int) -> dict[str, Any]:
    """The shipped file with two replicas on this machine's processor."""
    config: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    del config["proxy_location"]
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    (application,) = config["applications"]
    application["args"] = {
        "host": "127.0.0.1", "base_model": str(base), "device": "cpu", "threads": 1, "num_kv_blocks": 400,
        "database_url": database_url, "data_dir": str(data_dir),
    }  # fmt: skip
    (deployment,) = application["deployments"]
    del deployment["autoscaling_config"]
    deployment["num_replicas"] = NUM_REPLICAS
    deployment["ray_actor_options"]["num_gpus"] = 0
    return config


def until_running() -> None:
    """Wait until every replica serves."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        application = serve.status().applications.get("softprompt")
        if application is not None and application.status == "RUNNING":
            states = application.deployments["softprompt"].replica_states
            if states == {"RUNNING": NUM_REPLICAS}:
                return
        assert time.monotonic() < deadline, application
        time.sleep(0.1)


def replica_pids() -> list[int]:
    """The processes of the replicas."""
    return [process.pid for process in psutil.Process().children(recursive=True) if _is_replica(process)]


def _is_replica(process: psutil.Process) -> bool:
    try:
        return any("ServeReplica:softprompt" in part for part in process.cmdline())
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return False


@dataclass(frozen=True, slots=True)
class Killed:
    """What a kill cost. `gap_s` is the longest time between two right answers from the kill on."""

    num_failed: int
    gap_s: float
    replaced_after_s: float


def kill(address: Address) -> Killed:
    """Kill a replica under load and wait for its successor: only what it was answering fails."""
    pid, *_ = before = replica_pids()
    assert len(before) == NUM_REPLICAS, before
    with address.clients() as asked:
        killed_at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        deadline = killed_at + START_TIMEOUT_S
        while pid in (after := replica_pids()) or len(after) < NUM_REPLICAS:
            assert time.monotonic() < deadline, after
            time.sleep(0.1)
        until_running()
        replaced_after_s = time.monotonic() - killed_at
    failed = failures(asked)
    assert len(failed) <= NUM_CLIENTS, failed
    assert all(one.began_at <= killed_at for one in failed), [(one, one.began_at - killed_at) for one in failed]
    gap_s = longest_gap_s(asked, killed_at)
    assert gap_s < BACK_WITHIN_S
    return Killed(len(failed), gap_s, replaced_after_s)


def main() -> None:
    """Run it all and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=300)
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    with replicas() as address:
        swapped = address.swap(given.swaps, 0.1)
        print(f"{given.swaps} swaps: {len(swapped)} answers, none wrong, no error", flush=True)
        killed = [kill(address) for _ in range(given.kills)]
        print(
            f"{given.kills} kills: {sum(each.num_failed for each in killed)} requests lost, each begun before the kill"
        )
        print(f"longest time without an answer: {max(each.gap_s for each in killed):.2f} s")
        print(f"two replicas again after {max(each.replaced_after_s for each in killed):.1f} s at most")


if __name__ == "__main__":
    main()
