"""Servers of tests are forked, where that can be: a process that has initialised CUDA must not fork."""

import pytest
import torch

from tests.system.server_process import ServerProcess


@pytest.fixture(scope="session", autouse=True)
def forked_servers():
    """The programs of the long forms have no such fixture: they measure what a start takes."""
    ServerProcess.is_forked = not torch.cuda.is_available()
    yield
    ServerProcess.is_forked = False
