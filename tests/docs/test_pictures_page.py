"""The page of pictures shows every page at three sizes, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

HOUSE = Path(__file__).parents[2]
PICTURES = HOUSE / "docs" / "images" / "pages"
PAGE = (HOUSE / "docs" / "pages.md").read_text()
SIZES, COLUMNS = (390, 1280, 2560), (80, 120, 200)


def test_every_picture_is_there_at_three_sizes_and_on_the_page() -> None:
    named = set(re.findall(r"images/pages/([\w-]+\.webp)", PAGE))
    kept = {path.name for path in PICTURES.iterdir()}
    assert named == kept
    names = {name.rpartition("-")[0] for name in kept} - {"terminal"}
    terminals = {f"terminal-{columns}.webp" for columns in COLUMNS}
    assert kept == terminals | {f"{name}-{size}.webp" for name in names for size in SIZES}
    assert len(names) == 10
    for path in PICTURES.iterdir():
        if path.name in terminals:
            continue
        with Image.open(path) as picture:
            assert picture.width == int(path.stem.rpartition("-")[2])


def test_pictures_stay_small() -> None:
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < 3_000_000


def test_tests_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    tests = "".join(path.read_text() for path in (HOUSE / "tests").rglob("test_*.py"))
    missing = [name for name in named if f"def {name}(" not in tests]
    assert len(named) > 30
    assert missing == []
