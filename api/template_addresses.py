"""Templates write addresses as if the service were at the top; this puts the root path before."""

from __future__ import annotations

import re

from jinja2.ext import Extension

# `data-post` and `data-delete` are for scripts, which do the same (`at` in app.js)
_ADDRESS = re.compile(r'(?<![\w-])(href|src|(?:form)?action)="(?=/(?!/))')


class RootedAddresses(Extension):
    """Puts `{{ root }}` before each address in a template that begins with `/`."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return *source* with addresses below the root path."""
        return _ADDRESS.sub(r'\1="{{ root }}', source)
