"""The site builds without a broken link, and every page is in its table of contents."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_site_builds_with_strict_links() -> None:
    subprocess.run([sys.executable, "docs/reference.py"], cwd=ROOT, check=True)
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [zensical, "build", "--strict", "--clean"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path: path.read_text() for path in (ROOT / ".site").rglob("index.html")}
    assert ROOT / ".site" / "quickstart" / "index.html" in pages
    assert [path for path, text in pages.items() if "```" in text] == []  # every block is code


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    there = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert there - listed == set()
