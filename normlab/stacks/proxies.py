"""HTTP clients: the environment's proxy is never for this host; and why a server is silent."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

import httpx

from normlab.errors import InvalidSpec
from normlab.stacks.connection import pinned


def is_loopback(url: str) -> bool:
    """Return whether *url* leads to this host through its loopback interface."""
    name = (urlsplit(url).hostname or "").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # connecting to 0.0.0.0 or :: is connecting to this host
    return address.is_loopback or address.is_unspecified


def http_client(
    url: str,
    *,
    transport: Optional[httpx.BaseTransport] = None,
    timeout: httpx.Timeout,
    certificate: Optional[Path] = None,
) -> httpx.Client:
    """
    Return a client whose addresses begin with *url*.

    HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case, apply to other hosts; a
    proxy cannot reach the loopback interface of this one.

    Args:
        certificate: the exact certificate of the server; None for one that the system trusts.

    Raises:
        InvalidSpec: the environment's proxy, or the certificate, cannot be used.
    """
    direct = is_loopback(url)
    verify = True if certificate is None else pinned(certificate)
    try:
        return httpx.Client(
            base_url=url,
            transport=transport,
            timeout=timeout,
            trust_env=not direct,
            verify=verify,
        )
    except (ImportError, ValueError, httpx.InvalidURL) as e:
        raise InvalidSpec(
            f"{url} would be reached through the environment's proxy, which cannot be used: {e}; "
            "correct HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or name the host in NO_PROXY"
        ) from e


_SSL = re.compile(r"^\[SSL: \w+\] (.*?)( \(_ssl\.c:\d+\))?$")
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


def why_silent(cause: Exception) -> str:
    """Return the *cause* of a failed request in words."""
    if "WRONG_VERSION_NUMBER" in str(cause):
        return "it does not encrypt; begin the address with http://"
    late = isinstance(cause, httpx.TimeoutException)
    silent = "it took too long" if late else "the connection was lost"
    return _SSL.sub(r"\1", _ERRNO.sub("", str(cause))) or silent
