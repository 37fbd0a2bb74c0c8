"""Check that our own page sent a request: browsers add the cookie to requests of any page."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from normlab.errors import Forbidden

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def check_same_origin(request: HTTPConnection) -> None:
    """
    Raise Forbidden if a page from another site sent a request that changes something.

    Browsers report this in Sec-Fetch-Site (over HTTPS and to loopback), and in Origin, which older
    browsers send as well. Other programs send neither header, and no cookie of a user.
    """
    if request.scope["method"] in _SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or _place(origin) == request.headers.get("host", "").lower()
    if not ours:
        raise Forbidden(
            f"a {request.scope['method']} with no token in its header came from another site "
            f"({origin or site}); open the page itself, or send Authorization: Bearer TOKEN"
        )


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
