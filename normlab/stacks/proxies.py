"""HTTP clients that use the environment's proxy for other hosts, but never for this one."""

from __future__ import annotations

import ipaddress
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
        certificate: the server has exactly this one; None: one that the system trusts.

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
            f"{url} would be asked through the environment's proxy, which cannot be used: {e}; "
            "correct HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or name the host in NO_PROXY"
        ) from e
