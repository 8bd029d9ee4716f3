"""The application around a scripted engine and a store of its own, outside pytest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from prompts_store.store import Store
from server.api.access.key_ring import KeyRing
from server.api.services import Services
from server.app import create_app
from server.soft_prompts.catalog import TaskCatalog
from tests.fakes.checkpoints import BASE
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tokenizers import byte_level


@contextmanager
def application(folder: Path) -> Iterator[FastAPI]:
    """An application whose store is in a folder."""
    tokenizer = byte_level()
    engine = ScriptedEngine(script=lambda request, choice: (5,), eos_token_ids=tokenizer.eos_token_ids())
    with Store.open(str(folder / "store.db")) as store:
        yield create_app(
            Services(
                engine=engine,
                tokenizer=tokenizer,
                catalog=TaskCatalog(store, BASE),
                store=store,
                keys=KeyRing(store),
                base=BASE,
                base_id="tiny-base",
                eos_token_ids=tokenizer.eos_token_ids(),
            )
        )
