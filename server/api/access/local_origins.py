"""Whose pages may use a server without keys: those of this machine, and those that the operator names.

Such a server trusts everybody on its machine. Without this, that would be every page in a browser there: by a form that
it posts (cross-site request forgery), or by a name of its own that it points at loopback (DNS rebinding).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from server.api.errors import Forbidden
from server.settings import is_loopback


def check_page(headers: Headers, cors_origins: tuple[str, ...]) -> None:
    """Raise `Forbidden` for a request that a browser makes for a page from elsewhere; other clients are let by.

    Browsers send `Origin` with whatever changes something, and `Host` as the name by which the page knows the server.
    """
    origin, host = headers.get("origin"), headers.get("host")
    if origin is not None and not {"*", origin} & set(cors_origins) and not _is_local(origin):
        raise Forbidden("without keys, pages of other machines may not use this server", code="origin_not_allowed")
    if host is not None and not _is_local(f"//{host}"):
        message = "without keys, this server answers only to localhost and addresses of loopback"
        raise Forbidden(message, code="host_not_allowed")


def _is_local(url: str) -> bool:
    try:
        hostname = urlsplit(url).hostname
    except ValueError:
        return False
    return hostname is not None and is_loopback(hostname)
