"""Why a server does not answer, without the words of the libraries that asked it."""

from __future__ import annotations

import re

import httpx

_SSL = re.compile(r"^\[SSL: \w+\] (.*?)( \(_ssl\.c:\d+\))?$")
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


def why_silent(cause: Exception) -> str:
    """Return what the *cause*, which a request has raised, says in words."""
    if "WRONG_VERSION_NUMBER" in str(cause):
        return "it does not encrypt; begin the address with http://"
    late = isinstance(cause, httpx.TimeoutException)
    silent = "it took too long" if late else "the connection broke off"
    return _SSL.sub(r"\1", _ERRNO.sub("", str(cause))) or silent
