"""Check the addresses of webhooks."""

from __future__ import annotations

_LAST_PORT = 65_535


def why_unusable(url: str) -> str | None:
    """Return why no message can be sent to *url*; None if one can."""
    import httpx  # large, and a stack without webhooks does not need it to read its settings

    try:
        found = httpx.URL(url)
        found.raw_host.decode("ascii").encode("idna")  # the same steps as when a message is sent
    except (httpx.InvalidURL, ValueError) as e:
        return str(e)
    if any(letter.isspace() for letter in url):
        return "it contains a space"
    if found.scheme not in ("http", "https") or not found.host:
        return "it has no scheme, or no host"
    if found.port is not None and not 0 < found.port <= _LAST_PORT:
        return f"there is no port {found.port}"
    return None
