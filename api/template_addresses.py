"""Templates write addresses as if the service were at the top, and files without a version."""

from __future__ import annotations

import re

from jinja2.ext import Extension

from api.static_files import imported, version

# `data-post` and `data-delete` are for scripts, which do the same (`at` in app.js)
_ADDRESS = re.compile(r'(?<![\w-])(href|src|(?:form)?action)="(?=/(?!/))')
_MODULE = re.compile(r'<script type="module" src="/static/([\w.]+)"></script>')
_FILE = re.compile(r'(href|src)="/static/')


class Addresses(Extension):
    """
    Writes addresses in full.

    That is `{{ root }}` before each that begins with `/`, and the version in those of files. A
    browser is told at once which modules a module imports, not when it has read that one.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return *source* with whole addresses."""
        source = _MODULE.sub(_with_imported, source)
        source = _FILE.sub(rf'\1="/static/{version()}/', source)
        return _ADDRESS.sub(r'\1="{{ root }}', source)


def _with_imported(script: re.Match[str]) -> str:
    links = [f'<link rel="modulepreload" href="/static/{name}">' for name in imported(script[1])]
    return "".join([script[0], *links])
