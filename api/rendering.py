"""
Render the templates; show errors as pages in browsers.

Addresses in templates have no root path, and files in them have no version.
"""

from __future__ import annotations

import gzip
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader
from jinja2.ext import Extension
from starlette.responses import Response

from api.caller import CALLER, Caller
from api.hints import hint, marked, meaning, when_empty
from api.proxies import inner_path, root_of
from api.static_files import imported, version
from normlab.counting import measured
from normlab.not_finite import name_of
from normlab.plain_text import shown
from normlab.presentation.headlines import in_accuracys_place
from normlab.specs.devices import KINDS

# `data-post` and `data-delete` are for scripts, which do the same (`at` in app.js)
_ADDRESS = re.compile(r'(?<![\w-])(href|src|(?:form)?action)="(?=/(?!/))')
_MODULE = re.compile(r'<script type="module" src="/static/([\w.]+)"></script>')
_FILE = re.compile(r'(href|src)="/static/')


class Addresses(Extension):
    """
    Writes addresses in full.

    It puts `{{ root }}` before each address that begins with `/`, and the version into those of
    files. It also lists the modules that a module imports, so that a browser loads them at once.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return *source* with whole addresses."""
        source = _MODULE.sub(_with_imported, source)
        source = _FILE.sub(rf'\1="/static/{version()}/', source)
        return _ADDRESS.sub(r'\1="{{ root }}', source)


def _with_imported(script: re.Match[str]) -> str:
    links = [f'<link rel="modulepreload" href="/static/{name}">' for name in imported(script[1])]
    return "".join([script[0], *links])


def _shown(value: Any) -> Any:
    # The templates escape HTML; this handles old names that reverse the text next to them
    return shown(value) if type(value) is str else value


_LARGE_BYTES = 100_000
_templates = Jinja2Templates(
    env=Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=_shown,
        extensions=[Addresses],
    )
)
_TITLES = {431: "The request is too long"}  # where HTTP's own phrase would not help
_templates.env.globals["device_kinds"] = KINDS
_templates.env.filters["marked"] = marked
_templates.env.globals |= {"hint": hint, "meaning": meaning, "when_empty": when_empty}
_templates.env.globals |= {"in_accuracys_place": in_accuracys_place, "name_of": name_of}
_templates.env.globals |= {"measured": measured}


def render(
    request: Request, template: str, caller: Caller | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    """Render *template* for *caller*."""
    context = {"caller": caller, "section": "", "root": root_of(request.scope), **values}
    response = _templates.TemplateResponse(request, template, context, status_code=status)
    # Everything comes from this server; a script that is injected through a name does not run
    response.headers["Content-Security-Policy"] = (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )
    response.headers["Cache-Control"] = "no-store"
    if len(response.body) > _LARGE_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        _compress(response)
    return response


def _compress(response: HTMLResponse) -> None:
    # Forms repeat themselves in hundreds of fields, so compression leaves a tenth, in milliseconds
    response.body = gzip.compress(response.body, compresslevel=1)
    response.headers["Content-Length"] = str(len(response.body))
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"


def error_page(request: Request, status: int, title: str, detail: str) -> Response:
    """
    Answer a browser: with the login if a token is missing, otherwise with an error page.

    The page of a busy server reloads itself.
    """
    if status == 401:
        here = inner_path(request.scope) + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(here)}", status_code=303)
    busy = status == HTTPStatus.TOO_MANY_REQUESTS and request.method == "GET"
    words = "The server is busy" if busy else _TITLES.get(status, title.capitalize())
    caller = request.scope.get(CALLER)  # if known, links to other pages are shown
    return render(
        request, "error.html", caller, status=status, detail=detail, title=words, busy=busy
    )
