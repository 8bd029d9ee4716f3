"""The application around a scripted engine and a store of its own, outside pytest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from prompts_store.store import Store
from server.app import create_app
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.services import fake_services
from tests.fakes.tokenizers import byte_level


@contextmanager
def application(folder: Path) -> Iterator[FastAPI]:
    """An application whose store is in a folder."""
    engine = ScriptedEngine(script=lambda request, choice: (5,), eos_token_ids=byte_level().eos_token_ids())
    with Store.open(str(folder / "store.db")) as store:
        yield create_app(fake_services(store, engine))
