"""Every command and program in README and docs runs, or stands in `NOT_RUN` with the reason."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.page_run import PORTS, Place, free_port, make_clone, run
from tests.docs.snippets import Block, blocks, pages
from tests.prompts_store import postgres
from tests.prompts_store.conftest import without_postgres
from tests.system.live_server import tiny_base
from tests.system.server_process import ServerProcess

README, TUTORIAL = "README.md", "docs/tutorial.md"  # of the tutorial: tests/docs/test_tutorial.py
WITH_OWN_SERVER = ("docs/how-to/change-the-base-model.md", "docs/how-to/keys.md")
WITH_POSTGRES = "docs/how-to/scale-out.md"

NOT_RUN: Mapping[tuple[str, str], str] = {
    ("README.md", "make serve    # a server with a bundled demo model"): "its second line is this suite",
    ("README.md", "make serve ARGS="): "needs a hub",
    ("docs/engines.md", "make vllm\n"): "installs vLLM; tests/vllm/test_alone.py starts it with these options",
    ("docs/engines.md", ".venv-vllm/bin/softprompt serve"): "needs what was not installed; tests/vllm/test_tuning.py",
    ("docs/engines.md", "import json"): "asks the server that is not run; tests/vllm/test_alone.py sends such a body",
    ("docs/engines.md", "make vllm-gpu-test"): "needs a GPU",
    ("docs/how-to/change-the-base-model.md", 'make serve ARGS="--base-model HuggingFaceTB/'): "needs a hub",
    ("docs/how-to/change-the-base-model.md", 'make serve ARGS="--base-model models/SmolLM2'):
        "needs a file from a hub; tests/cli/test_gguf_bases.py serves files of this format",
    ("docs/how-to/classify-and-embed.md", "make serve"): "needs a hub; tests/system/test_encoders.py serves an encoder",
    ("docs/how-to/generate-an-sdk.md", "npx"): "needs what `make sdks` installs, which runs the generator",
    ("docs/how-to/generate-an-sdk.md", "openapi-generator-cli"): "likewise",
    ("docs/how-to/publish.md", "softprompt task convert"):
        "needs a checkpoint of an old PEFT; tests/cli/test_convert.py makes some",
    ("docs/how-to/publish.md", "softprompt task publish ORG/NAME"): "needs a hub",
    ("docs/how-to/tune.md", "softprompt tune mood --train mood.jsonl --base-model"):
        "needs a hub; tests/system/test_tuning_kinds.py tunes tiny base models of these kinds",
    ("docs/tuning.md", "softprompt tune mood"): "trains for minutes; docs/how-to/tune.md has both with fewer steps",
    ("docker/kubernetes/README.md", "umask 077"): "needs Kubernetes",
}  # fmt: skip
"""A page and how a block of it begins; why it does not run."""

# A page says how many steps a task needs. What is tested needs two, whatever comes of them.
FEWER_STEPS = {r"--steps \d+": "--steps 2", r'"num_steps": \d+': '"num_steps": 2', r'"gate": {[^}]*}': '"gate": {}'}


def exception(block: Block) -> tuple[str, str] | None:
    """The entry of `NOT_RUN` that a block has, if any."""
    return next((one for one in NOT_RUN if one[0] == block.page and block.text.startswith(one[1])), None)


ALL = [block for page in pages() for block in blocks(page)]
PAGES = sorted({block.page for block in ALL if exception(block) is None} - {README, TUTORIAL, WITH_POSTGRES})


@pytest.fixture(scope="module")
def path(programs) -> str:
    """PATH with `softprompt` and `python`."""
    return os.pathsep.join([*map(str, filter(None, [programs, Path(sys.executable).parent])), os.environ["PATH"]])


@pytest.fixture(scope="module")
def data_home(tmp_path_factory) -> Path:
    """The folder in which the default data folder is."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def port(data_home) -> Iterator[int]:
    """The port of a server on the default data folder, which most pages share. Their tasks have names of their own."""
    number, folder = free_port(), data_home / "softprompt"
    folder.mkdir()
    with ServerProcess(data_home / "log", data_dir=folder, threads=1, port=number) as server:
        assert server.url
        yield number


@pytest.fixture
def place(path, data_home, tmp_path) -> Place:
    """A clone of its own, next to the default data folder of all pages."""
    environment = {"PATH": path, "XDG_DATA_HOME": str(data_home)}
    return Place(make_clone(tmp_path / "clone"), replaced=FEWER_STEPS, environment=environment)


@pytest.fixture
def beside_a_server(place, port) -> Place:
    """A clone of its own, whose port 8000 is the shared server's."""
    return replace(place, ports={**place.ports, PORTS[0]: port})


@pytest.mark.parametrize("page", [page for page in PAGES if page not in WITH_OWN_SERVER])
def test_a_page_runs_beside_a_server(page, beside_a_server):
    """Every command succeeds and prints what the page says."""
    run(running(page), beside_a_server)


def test_the_readme_runs(beside_a_server):
    """Its two tasks answer what the text around them says."""
    two_tasks, labels, *_ = run(running(README), beside_a_server)
    assert '"text":"negative"' in two_tasks
    assert '"text":"1976-07-04"' in two_tasks
    assert [verdict["label"] for verdict in json.loads(labels)["data"]] == ["positive", "negative"]


@pytest.mark.parametrize("page", WITH_OWN_SERVER)
def test_a_page_runs_with_a_server_of_its_own(page, place, tmp_path):
    """It starts the server in the commands themselves. The folder models/mine is a tiny base model."""
    tiny_base(place.folder / "models" / "mine")
    environment = {**place.environment, "XDG_DATA_HOME": str(tmp_path / "home")}
    run(running(page), replace(place, environment=environment))


def test_the_page_of_several_servers_runs(place):
    """Two servers on one PostgreSQL: what is published on one is answered by the other."""
    try:
        with postgres.private_cluster() as cluster:
            replaced = {r"postgresql://softprompt:secret@localhost/softprompt": f"'{cluster.url()}'"}
            run(running(WITH_POSTGRES), replace(place, replaced=replaced))
    except postgres.NoPostgres as reason:
        without_postgres(reason)


def test_what_does_not_run_is_on_a_page():
    """The list of exceptions has no entry that no page needs any more."""
    assert set(NOT_RUN) == {exception(block) for block in ALL} - {None}


def running(page: str) -> list[Block]:
    """The blocks of a page that run; at least one."""
    found = [block for block in blocks(page) if exception(block) is None]
    assert found
    return found
