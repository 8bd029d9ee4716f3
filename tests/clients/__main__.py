"""Stock clients, unmodified and with their defaults, against a server of the demo model: `make client-test`.

The demo model has no chat template, without which it takes no conversation; it is served with one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from prompts_store.checkpoint_records import TaskType
from server.demo import BASE_DIR, BASE_NAME, TASKS_DIR
from tests.clients.scenario import PREFIX
from tests.parity.head_oracle import save_checkpoint
from tests.system.server_process import ROOT, ServerProcess

FOLDER = Path(__file__).parent
VENV_PYTHON = ROOT / ".clients/venv/bin/python"
NODE = VENV_PYTHON.with_name("node")
COLUMNS = ("chat", "stream", "turns", "agent", "completions", "embeddings", "heads", "models", "files", "batches",
           "tuning", "example")  # fmt: skip
HEADS = {"vectors": TaskType.FEATURE_EXTRACTION, "topic": TaskType.SEQ_CLS, "names": TaskType.TOKEN_CLS}
"""Tasks with heads at random, beside the demo's. There is none for questions: the demo model takes none."""
TIMEOUT_S = 240.0
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A scenario of a client; `error` is None where all went well."""

    client: str
    column: str
    variant: str
    error: str | None


CLIENTS = {
    "openai, Python": (sys.executable, "-m", "tests.clients.openai_python"),
    "openai, Python, the version before": (str(VENV_PYTHON), "-m", "tests.clients.openai_python"),
    "LangChain": (str(VENV_PYTHON), "-m", "tests.clients.langchain_python"),
    "LlamaIndex": (str(VENV_PYTHON), "-m", "tests.clients.llama_index_python"),
    "LiteLLM": (str(VENV_PYTHON), "-m", "tests.clients.litellm_python"),
    "openai, Node": (str(NODE), str(FOLDER / "openai_node.mjs")),
    "Vercel AI SDK": (str(NODE), str(FOLDER / "vercel_node.mjs")),
}


@contextmanager
def demo_server() -> Iterator[str]:
    """The URL of the demo model's interface, with the demo's tasks, tasks with heads, and a chat template."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(BASE_DIR, folder / BASE_NAME)
        shutil.copytree(TASKS_DIR, folder / "tasks")
        for seed, (task, task_type) in enumerate(HEADS.items()):
            save_checkpoint(folder / "tasks" / task, folder / BASE_NAME, "prompt", task_type, seed)
        (folder / BASE_NAME / "chat_template.jinja").write_text(CHAT_TEMPLATE)
        with ServerProcess(
            folder / "log",
            base_model=folder / BASE_NAME,
            tasks_dir=folder / "tasks",
            data_dir=folder / "data",
            threads=1,
        ) as server:
            yield f"{server.url}/v1"


def outcomes(client: str, url: str) -> list[Outcome]:
    """Run a client's script to its end."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LANGSMITH_"))}
    variables |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "unused", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    try:
        ended = subprocess.run(
            CLIENTS[client], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return [Outcome(client, "chat", "the script", f"did not end within {TIMEOUT_S:.0f} s")]
    lines = [line.removeprefix(PREFIX) for line in ended.stdout.splitlines() if line.startswith(PREFIX)]
    found = [Outcome(client, **json.loads(line)) for line in lines]
    if ended.returncode or not found:
        found.append(
            Outcome(client, "chat", "the script", f"status {ended.returncode}: {ended.stderr[-1000:].strip()}")
        )
    return found


def report(found: Sequence[Outcome]) -> None:
    """Print the table, then what failed."""
    console = Console(width=150, soft_wrap=True)
    table = Table("client", *COLUMNS)
    for client in dict.fromkeys(outcome.client for outcome in found):
        table.add_row(
            client,
            *(_cell([one for one in found if (one.client, one.column) == (client, column)]) for column in COLUMNS),
        )
    console.print(table)
    for outcome in found:
        if outcome.error is not None:
            print(f"FAILED {outcome.client}: {outcome.column}, {outcome.variant}: {outcome.error}")
    num_failed = sum(outcome.error is not None for outcome in found)
    print(f"{len(found) - num_failed} passed, {num_failed} failed")


def _cell(found: Sequence[Outcome]) -> str:
    if not found:
        return "-"
    num_failed = sum(outcome.error is not None for outcome in found)
    return "OK" if not num_failed else f"FAILED {num_failed} of {len(found)}"


def missing() -> list[str]:
    """The folders that this machine lacks; `make client-test` makes them."""
    return [str(path) for path in (VENV_PYTHON, NODE, FOLDER / "node_modules") if not path.exists()]


def main() -> int:
    """Ask with every client, or with those that are named; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)}; all by default")
    wanted = parser.parse_args().clients or list(CLIENTS)
    if lacks := missing():
        print(f"the stock clients need {', '.join(lacks)}: run make client-test", file=sys.stderr)
        return 1
    found: list[Outcome] = []
    with demo_server() as url:
        for client in wanted:
            began = time.monotonic()
            found += outcomes(client, url)
            print(f"{client}: {time.monotonic() - began:.1f} s", flush=True)
    report(found)
    return int(any(outcome.error is not None for outcome in found))


if __name__ == "__main__":
    sys.exit(main())
