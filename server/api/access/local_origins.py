"""Origins that may use a server without keys: pages of this machine, and origins that the operator allows.

Such a server trusts everybody on its machine. Without this check, that includes every page in a browser there: through
a form that it posts (cross-site request forgery), or a name that it points at loopback (DNS rebinding).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from server.api.errors import Forbidden
from server.settings import is_loopback


def check_page(headers: Headers, cors_origins: tuple[str, ...]) -> None:
    """Raise `Forbidden` for a browser's request from a page of another machine. Other clients pass.

    Browsers send `Origin` with every request that changes something. `Host` is the server's name in the page's URL.
    """
    origin, host = headers.get("origin"), headers.get("host")
    if origin is not None and not {"*", origin} & set(cors_origins) and not _is_local(origin):
        raise Forbidden(
            "this server has no keys, so it refuses pages of other machines: create a key, or allow the page's origin "
            "(--cors-origin)",
            code="origin_not_allowed",
        )
    if host is not None and not _is_local(f"//{host}"):
        message = "this server has no keys, so Host must be localhost or a loopback address: use one, or create a key"
        raise Forbidden(message, code="host_not_allowed")


def _is_local(url: str) -> bool:
    try:
        hostname = urlsplit(url).hostname
    except ValueError:
        return False
    return hostname is not None and is_loopback(hostname)
