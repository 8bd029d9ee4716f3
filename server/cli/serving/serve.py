"""`softprompt serve`: bind, load, listen, and stop cleanly."""

from __future__ import annotations

import errno
import gc
import logging
import signal
import socket

from server.cli.errors import StartFailed
from server.cli.serving.serve_options import takes_settings
from server.cli.serving.welcome import welcome
from server.cli.streams import announce
from server.loading import LoadFailed, load
from server.logging import configure_logging
from server.settings import ServeSettings

logger = logging.getLogger(__name__)


@takes_settings
def serve(settings: ServeSettings) -> None:
    """Serve a base model and its soft prompts over HTTP. Every option has an environment variable.

    After SIGTERM or Ctrl-C, accepted requests may finish. A second signal ends the server at once.
    """
    configure_logging(
        settings.log_level, settings.log_format, access_log=settings.access_log, prompts=settings.log_prompts
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM then ends the server as Ctrl-C does
    try:
        with bind(settings.host, settings.port) as listener:
            run(settings, listener)
    except KeyboardInterrupt:
        logger.info("stopped")


def bind(host: str, port: int) -> socket.socket:
    """Bind the address. Clients cannot connect until the server listens, after the load. Raises StartFailed."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise StartFailed(f"{host} is not an address of this machine") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def run(settings: ServeSettings, listener: socket.socket) -> None:
    """Load the model and serve until a signal arrives. Raises StartFailed."""
    from server.cli.serving.http_server import HttpServer, http_config
    from server.cli.serving.watchdog import Watchdog

    port = listener.getsockname()[1]
    logger.info("loading %s", settings.base_model or "the demo model")
    try:
        app = load(settings)
    except LoadFailed as error:
        raise StartFailed(str(error)) from error
    services, engine = app.state.services, app.state.services.inference.engine

    def on_ready() -> None:
        watchdog.start()
        announce(welcome(settings, services, port))

    def is_healthy() -> bool:
        """During shutdown the engine's thread may have ended, but must not hang."""
        return engine.is_alive or (server.should_exit and not engine.is_wedged)

    server = HttpServer(http_config(app, settings), on_ready, services.drain, settings.shutdown_grace_s, engine.cut_off)
    watchdog = Watchdog(is_healthy)
    try:
        server.run(sockets=[listener])
    except OSError as error:  # another process began to listen here while the model was loading
        raise _cannot_listen(settings.host, port, error) from error
    finally:
        gc.unfreeze()  # so that objects are finalised before the process ends
    logger.info("stopped")


def _cannot_listen(host: str, port: int, error: OSError) -> StartFailed:
    if error.errno == errno.EADDRINUSE:
        return StartFailed(f"port {port} of {host} is in use; choose another with --port")
    return StartFailed(f"cannot listen on port {port} of {host}: {error.strerror}")
