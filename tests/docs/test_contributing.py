"""The specification in CONTRIBUTING.md is one that the code takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.specs import norms_over_samples

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_example_of_a_normalizer_is_a_specification_with_ranges() -> None:
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = dict(vars(norms_over_samples))
    exec(re.sub("^   ", "", block.group(1), flags=re.MULTILINE), names)
    half = names["HalfNormSpec"]
    assert half(share=1).share == 1
    with pytest.raises(InvalidSpec, match="share"):
        half.checked(8, share=2)


def test_the_files_that_a_reader_edits_are_there() -> None:
    new = {"half.py", "mynet.py", "mydata.py", "mydevice.py"}
    named = [Path(name) for name in re.findall(r"`([\w/]+/[\w.]+\.(?:py|md))`", PAGE)]
    assert new <= {path.name for path in named}
    root = Path(__file__).parents[2]
    assert [str(p) for p in named if p.name not in new and not (root / p).exists()] == []
