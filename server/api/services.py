"""What the routes work with, built once at start."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from prompts_store.records import BaseModel
from prompts_store.store import Store
from server.api.limits import ApiSettings
from server.engine.client import EngineClient
from server.soft_prompts.catalog import TaskCatalog
from server.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """Application-lived things.

    `base_id` is what the base model is called in `model`; `started_at` is Unix time in seconds.
    """

    engine: EngineClient
    tokenizer: Tokenizer
    catalog: TaskCatalog
    store: Store
    base: BaseModel
    base_id: str
    eos_token_ids: frozenset[int]
    settings: ApiSettings = field(default_factory=ApiSettings)
    started_at: int = field(default_factory=lambda: int(time.time()))

    @property
    def base_names(self) -> frozenset[str]:
        """Every name that means the base model, none of which a task may bear."""
        return frozenset((self.base_id, *self.base.names))


async def _services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(_services)]
