"""One look at the services, for the metrics that are read at each scrape."""

from __future__ import annotations

from server import __version__
from server.api.services import Services
from server.telemetry.state_metrics import ServerState, TuningStats


def server_state(services: Services) -> ServerState:
    """What the server is doing now."""
    catalog, drain = services.catalog, services.drain
    is_following = catalog.is_following and catalog.state_age_s is not None
    return ServerState(
        version=__version__,
        base_id=services.base_id,
        engine=services.engine.stats,
        engine_is_alive=services.engine.is_alive,
        is_ready=services.engine.is_alive and is_following and not drain.is_draining,
        is_draining=drain.is_draining,
        num_open_requests=drain.num_open,
        store_is_reachable=catalog.store_is_reachable,
        store_age_s=catalog.state_age_s,
        shadows=services.shadows.by_task(),
        tuning=TuningStats() if services.jobs is None else services.jobs.stats,
    )
