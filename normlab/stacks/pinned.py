"""Trust of a stack's own certificate, whatever name it is for: it is known by its content."""

from __future__ import annotations

import ssl
from pathlib import Path

from normlab.errors import InvalidSpec

_PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN; Python 3.10 names it


def pinned(certificate: Path) -> ssl.SSLContext:
    """
    Return a context that accepts servers with exactly *certificate*, and no others.

    Raises:
        InvalidSpec: it cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=str(certificate))
    except (OSError, ssl.SSLError) as e:
        reason = f"the certificate {certificate} of the stack cannot be read: {e}"
        raise InvalidSpec(reason) from e
    context.check_hostname = False
    context.verify_flags |= _PARTIAL_CHAIN
    return context
