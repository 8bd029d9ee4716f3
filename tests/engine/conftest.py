"""What the engine's tests share."""

import logging

import pytest


@pytest.fixture(autouse=True)
def quiet_engine(caplog):
    """Injected failures are logged in full; here they are the rule."""
    caplog.set_level(logging.CRITICAL + 1, logger="server.engine")
