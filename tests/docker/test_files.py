"""What is in docker/ is valid, agrees with itself and with the server. No container engine is needed, or was used."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from server.cli.serving.serve_options import variable_name
from server.engine.client import EngineStats
from server.settings import ServeSettings
from server.telemetry.metrics import Metrics
from server.telemetry.state_metrics import ServerState, ShadowCounts
from tests.programs import NoProgram, program, without_program

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
MANIFESTS = [
    pytest.param(document, id=f"{path.name}:{document['kind']}")
    for path in sorted((DOCKER / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
ENTRYPOINT_VARIABLES = {"SOFTPROMPT_DATABASE_PASSWORD_FILE"}


def metric_names() -> set[str]:
    """Every series that /metrics can have."""
    state = ServerState(
        version="1", base_id="b", engine=EngineStats(*[0] * 9), engine_is_alive=True, is_ready=True, is_draining=False,
        num_open_requests=0, store_is_reachable=True, store_age_s=0.0, shadows={"a": ShadowCounts()},
    )  # fmt: skip
    text = Metrics().render(state).decode()
    names = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    names |= {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    histograms = re.findall(r"^# TYPE (\S+) histogram$", text, re.MULTILINE)
    return names | {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}


def queries() -> list[str]:
    """Every query of the dashboard and of the alerts."""
    board = json.loads((DOCKER / "grafana/dashboards/softprompt.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    rules = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def named(query: str) -> set[str]:
    return set(re.findall(r"\b(?:softprompt|process)_[a-z0-9_]+", query))


def test_every_query_asks_for_a_metric_that_exists():
    known = metric_names()
    assert queries()
    for query in queries():
        assert named(query) <= known, query


def test_every_metric_of_ours_is_on_the_dashboard():
    """Information about the build is the one that nobody looks at over time."""
    asked = {name for query in queries() for name in named(query)}
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in metric_names()}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert {name for name in families if name.startswith("softprompt_")} - shown - {"softprompt_build_info"} == set()


def test_every_metric_and_alert_is_described():
    """docs/operations.md says what it means and what to do."""
    page = (ROOT / "docs/operations.md").read_text()
    rules = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())
    described = set(re.findall(r"`(softprompt_[a-z_]+|Softprompt[A-Za-z]+)", page))
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in metric_names()}
    assert {name for name in families if name.startswith("softprompt_")} <= described
    assert {rule["alert"] for group in rules["groups"] for rule in group["rules"]} <= described


def test_panels_do_not_overlap():
    board = json.loads((DOCKER / "grafana/dashboards/softprompt.json").read_text())
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in board["panels"])
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_dockerfile_passes_hadolint():
    subprocess.run([BIN / "hadolint", "--failure-threshold", "warning", ROOT / "Dockerfile"], check=True)


def test_the_compose_file_fits_its_schema():
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_the_kubernetes_manifests_fit_their_schemas(manifest):
    kubernetes_validate.validate(manifest, "1.33", strict=True)


@pytest.mark.parametrize("path", ["prometheus.yml", "alerts.yml"])
def test_prometheus_reads_its_files(path):
    """By its own tool, where that is installed."""
    try:
        promtool = program("promtool", "prometheus")
    except NoProgram as reason:
        without_program(reason)
    what = "rules" if path == "alerts.yml" else "config"
    option = ["--syntax-only"] if what == "config" else []
    subprocess.run([promtool, "check", what, *option, DOCKER / "prometheus" / path], check=True, capture_output=True)


def test_every_variable_is_a_setting():
    """Whatever the files set is read by somebody."""
    known = {variable_name(name) for name in ServeSettings.model_fields} | ENTRYPOINT_VARIABLES
    for path in (ROOT / "Dockerfile", *DOCKER.rglob("*.yaml"), DOCKER / "entrypoint.sh"):
        found = set(re.findall(r"\bSOFTPROMPT_[A-Z_]+", path.read_text()))
        assert found <= known, path


def test_mounted_and_copied_paths_exist():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (DOCKER / volume.partition(":")[0]).is_dir(), volume
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in shlex.split(line)[1:-1]:
                assert (ROOT / source).exists(), line


def test_containers_are_confined():
    """Not root, a read-only root, no capabilities, no new privileges; secrets in files."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "USER 10001:10001" in dockerfile
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    for name in ("server", "migrate"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for parameter in MANIFESTS:
        (manifest,) = parameter.values
        if manifest["kind"] in ("Deployment", "Job"):
            pod = manifest["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            for container in pod["containers"]:
                context = container["securityContext"]
                assert context["readOnlyRootFilesystem"] is True
                assert context["allowPrivilegeEscalation"] is False
                assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_ray_file_names_what_exists():
    """The deployment of the file is the one of the module, and nothing is left at Ray's small defaults."""
    config = yaml.safe_load((DOCKER / "ray/serve.yaml").read_text())
    (application,) = config["applications"]
    module, _, name = application["import_path"].partition(":")
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    assert f"def {name}(" in source
    (deployment,) = application["deployments"]
    assert f'name="{deployment["name"]}"' in source
    settings = ServeSettings()
    assert deployment["max_ongoing_requests"] == settings.max_waiting + settings.max_num_seqs
    assert deployment["graceful_shutdown_timeout_s"] > settings.shutdown_grace_s
