"""The services of a server whose engine is a fake, and the same with other parts."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any

from prompts_store.store import Store
from server.api.access.access import Access
from server.api.access.key_ring import KeyRing
from server.api.access.overload import OverloadGuard
from server.api.access.quotas import Quotas
from server.api.inference.inference import Inference
from server.api.inference.shadows import ShadowRuns
from server.api.limits import ApiSettings
from server.api.management.store_access import StoreAccess
from server.api.services import Services
from server.engine.client import EngineClient
from server.soft_prompts.catalog import TaskCatalog
from server.store_follower import StoreFollower
from server.structured_outputs.compiler import ConstraintCompiler
from server.tokenizer.token_table import describe
from server.tokenizer.tokenizer import Tokenizer
from tests.fakes.checkpoints import BASE
from tests.fakes.tokenizers import byte_level
from tests.fakes.tuning_run import RunControl, fake_runner

BASE_ID = "tiny-base"


def fake_services(
    store: Store, engine: EngineClient, tokenizer: Tokenizer | None = None, runs: RunControl | None = None, **own: Any
) -> Services:
    """Services over a store; `runs` are its tuning runs, without which there is no tuning. `own` are fields."""
    tokenizer = byte_level() if tokenizer is None else tokenizer
    follower, settings, quotas, overload = StoreFollower(store), ApiSettings(), Quotas(), OverloadGuard()
    names = frozenset((BASE_ID, *BASE.names))
    end = tokenizer.eos_token_ids()
    catalog = TaskCatalog(store, BASE, follower)
    return Services(
        access=Access(KeyRing(store), quotas, overload, engine, settings),
        inference=Inference(
            engine,
            tokenizer,
            catalog,
            names,
            end,
            settings.limits,
            quotas,
            overload,
            ShadowRuns(),
            ConstraintCompiler(partial(describe, tokenizer, tokenizer.num_ids, end)),
        ),
        store_access=StoreAccess(store, BASE, names, follower, settings.limits),
        base_id=BASE_ID,
        settings=settings,
        jobs=None if runs is None else fake_runner(store, BASE, follower, runs, engine),
        **own,
    )


def with_parts(services: Services, **parts: Any) -> Services:
    """The services with other parts, each in every object that has a field of its name."""
    if "settings" in parts:
        parts = {"limits": parts["settings"].limits, **parts}
    owners = {name: getattr(services, name) for name in ("access", "inference", "store_access")}
    parts |= {name: replace(owner, **_own(owner, parts)) for name, owner in owners.items()}
    assert all(any(name in _names(each) for each in (services, *owners.values())) for name in parts)
    return replace(services, **_own(services, parts))


def _own(owner: Any, parts: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if name in _names(owner)}


def _names(owner: Any) -> set[str]:
    return {field.name for field in fields(owner)}
