"""Two servers behind the load balancer that docker/haproxy configures; `make replica-test` is the long form."""

import subprocess

import pytest

from tests.programs import NoProgram, program, without_program
from tests.prompts_store import postgres
from tests.prompts_store.conftest import without_postgres
from tests.system import proxied


def test_haproxy_takes_the_file():
    """By its own check."""
    try:
        haproxy = program("haproxy", "haproxy")
    except NoProgram as reason:
        without_program(reason)
    subprocess.run([haproxy, "-c", "-f", proxied.CONFIGURATION], check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(600)  # four starts of a server: a slow machine, not a hang
def test_a_pair_behind_the_proxy_answers_through_swaps_a_stop_and_a_kill():
    """One test, since the servers are costly to start and test workers share none."""
    try:
        with proxied.pair() as running:
            running.address.swap(20, pause_s=0.05)
            proxied.stop(running, "one")
            proxied.kill(running, "two")
    except postgres.NoPostgres as reason:
        without_postgres(reason)
    except NoProgram as reason:
        without_program(reason)
