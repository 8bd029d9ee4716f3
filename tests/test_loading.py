"""The application, loaded for whatever serves it."""

from __future__ import annotations

import gc

from fastapi import FastAPI

from server.loading import load
from server.settings import ServeSettings


def test_what_is_loaded_is_never_collected(monkeypatch):
    """A full collection over PyTorch and its kin takes a third of a second, in which nothing is answered."""
    monkeypatch.setattr("server.app.build_services", lambda settings: None)
    monkeypatch.setattr("server.app.create_app", lambda services: FastAPI())
    try:
        load(ServeSettings())
        assert gc.get_freeze_count() > 100_000
    finally:
        gc.unfreeze()
