"""Take the pictures of pages, terminal and notebook: `make pictures`, which needs Chromium."""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from docs.terminal_and_notebook import take_notebook, take_terminal
from normlab.cli.connecting import client_of
from normlab.client import Client
from normlab.stacks.own import own_stack

FOLDER = Path(__file__).parent / "images" / "pages"
SIZES = {390: (844, "dark"), 1280: (800, "light"), 2560: (1440, "dark")}
"""By width in pixels: the height and the theme."""
QUALITY = 60
_PATIENCE_MS = 120_000
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_DATA = {"name": "digits", "train_size": 200, "test_size": 200}
_SMALL = {"dataset": _DATA, "model": {"name": "convnet", "width": 8}, "batch_size": 8}
_STUDY: dict[str, Any] = {
    "name": "small batches",
    "base": {**_SMALL, "epochs": 5},
    "axes": {
        "normalizer": ["batch", "group", {"kind": "group", "proxy": True}],
        "batch_size": [32, 8, 2],
    },
    "seeds": 3,
}
_SEARCH: dict[str, Any] = {
    "name": "rates",
    "base": {**_SMALL, "normalizer": "batch", "epochs": 2},
    "search": {
        "space": {
            "optimizer.lr": {"low": 0.001, "high": 0.5, "log": True},
            "optimizer.momentum": {"low": 0.0, "high": 0.95},
        },
        "trials": 12,
    },
}
_LOOKED_INTO: dict[str, Any] = {
    **_SMALL,
    "epochs": 8,
    "model": {"name": "preresnet8", "width": 8},
    "diagnostics": ["power", "effective_step", "ablation"],
}
_UNDER_WAY: dict[str, Any] = {**_SMALL, "name": "under way", "normalizer": "online"}


def main() -> int:
    """Train on a separate stack, and take pictures of everything that shows the training."""
    found = next((path for path in map(shutil.which, _BROWSERS) if path), None)
    if found is None:
        raise SystemExit(f"no Chromium is on PATH (looked for {', '.join(_BROWSERS)})")
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="normlab-pages-")))
        settings = {"NORMLAB_PORT": "0", "NORMLAB_SLOTS": "2"}
        connection = ending.enter_context(own_stack(folder, settings))
        client = ending.enter_context(client_of(connection))
        addresses = _prepared(client)
        browser = ending.enter_context(sync_playwright()).chromium.launch(
            executable_path=found, args=["--no-sandbox"]
        )
        ending.callback(browser.close)
        context = browser.new_context(base_url=connection.url, reduced_motion="reduce")
        context.set_default_timeout(_PATIENCE_MS)
        context.request.post("/login", form={"token": connection.token or ""})
        page = context.new_page()
        _take(page, addresses)
        jobs = re.findall(r"[\w-]{36}", " ".join(addresses[name][0] for name in ("job", "inside")))
        take_terminal(page, connection, jobs, _save)
        take_notebook(page, folder, SIZES, _save)
    return 0


def _prepared(client: Client) -> dict[str, tuple[str, str]]:
    """Train what the pages show; return for each picture its address and an element to wait for."""
    study, search = client.studies.create(_STUDY), client.studies.create(_SEARCH)
    inside = [
        client.submit({**_LOOKED_INTO, "name": kind, "normalizer": kind}).id
        for kind in ("batch", "layer")
    ]
    for one in (study, search):
        client.studies.wait(one.id)
    for job in inside:
        client.wait(job)
    cells = [job.id for job in client.list(study=study.id)]
    running = client.submit({**_UNDER_WAY, "epochs": 4000}).id
    return dict(_addresses(study.id, search.id, inside, cells, running))


def _addresses(
    study: str, search: str, inside: list[str], cells: list[str], running: str
) -> Iterator[tuple[str, tuple[str, str]]]:
    compared = "&".join(f"job={job}" for job in cells[:18])
    yield "job", (f"/jobs/{running}", "#machine canvas")
    yield "runs", ("/runs", "#runs tbody a")
    yield "compare", (f"/compare?{compared}&metric=val/accuracy", "#chart canvas")
    yield "study", (f"/studies/{study}", "#results canvas, #heat td")
    yield "search", (f"/studies/{search}", "#history canvas")
    yield "inside", (f"/jobs/{inside[0]}/inside?beside={inside[1]}", "svg .layer")
    yield "normalizer", ("/normalizers/group", "#moments tr")
    yield "new-job", (f"/jobs/new?from={inside[0]}", "#verdict > :not(.quiet)")
    yield "new-study", ("/studies/new", "#preview > :not(.quiet)")


def _take(page: Page, addresses: dict[str, tuple[str, str]]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (address, there) in addresses.items():
        for width, (height, theme) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=theme)
            page.goto(address)
            page.locator(there).first.wait_for(state="attached")
            page.wait_for_load_state("load")
            page.evaluate("() => new Promise((done) => setTimeout(done, 1500))")  # uPlot's frames
            _save(page.screenshot(full_page=width == 390), f"{name}-{width}")


def _save(picture: bytes, name: str) -> None:
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").save(FOLDER / f"{name}.webp", quality=QUALITY, method=6)
    print(name, flush=True)


if __name__ == "__main__":
    sys.exit(main())
