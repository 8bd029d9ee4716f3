"""The model that these tests need. A missing one is a failure, never a skip."""

import pytest

from tests.real_model.fetch import FLOAT32, REVIEWS


@pytest.fixture(scope="session")
def folder():
    """SmolLM2-135M-Instruct in float32."""
    missing = [path for path in (FLOAT32, REVIEWS) if not path.is_dir()]
    assert not missing, f"there is no {missing[0]}: run `make real-model`"
    return FLOAT32
