"""The application, loaded for whatever serves it."""

from __future__ import annotations

import gc

import pytest
from fastapi import FastAPI

from server.loading import importing, load
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


def test_imports_run_without_collections_even_if_one_fails():
    """Collections were a quarter of the imports' time. What was imported is out of every later one."""
    try:
        with pytest.raises(ImportError), importing():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() and gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_whoever_turned_collection_off_finds_it_so():
    """A benchmark may, to measure one thing at a time."""
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
