"""The application around a scripted engine, as for tests/api."""

from tests.api.conftest import client, empty_database, engine, limited, runs, services, store  # noqa: F401  (fixtures)
from tests.system.conftest import forked_servers  # noqa: F401  (its servers are those of tests/system)
