"""
The laws as tests: `pytest --norms my_norms.py` runs one test for each kind and law.

pytest loads this module for every project on the machine, so it imports torch only if the option
is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List

import pytest

if TYPE_CHECKING:
    from normlab.laws.checking import Outcome

_OPTION = "normlab_norms"


class LawBroken(Exception):
    """A law of normalizers is broken; pytest shows the message."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("normlab")
    group.addoption(
        "--norms",
        dest=_OPTION,
        action="append",
        default=[],
        metavar="FILE",
        help="check the normalizers that FILE declares for normlab (repeatable)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the option's files in addition to the others, or alone if no others are named."""
    paths: List[str] = config.getoption(_OPTION)
    if paths:
        named = config.invocation_params.args
        others = [arg for arg in config.args if arg in map(str, named) and arg not in paths]
        config.args[:] = [*others, *paths]


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Any:
    """Make the tests of a file of the option, which is not a test module itself."""
    return (
        _NormsFile.from_parent(parent, path=module_path) if _is_ours(module_path, parent) else None
    )


def _is_ours(path: Path, parent: pytest.Collector) -> bool:
    paths: List[str] = parent.config.getoption(_OPTION)
    return any(path == Path(given).absolute() for given in paths)


class _NormsFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        from normlab.laws.checking import LAWS, declared_in
        from normlab.laws.recipe_laws import RECIPE_LAWS

        for part, kind in declared_in(self.path):
            for law in RECIPE_LAWS.get(part, LAWS):
                named = {"part": part, "kind": kind, "law": law}
                yield _LawItem.from_parent(self, name=f"{kind}: {law}", **named)


class _LawItem(pytest.Item):
    def __init__(self, part: str, kind: str, law: str, **others: Any) -> None:
        super().__init__(**others)
        self.part, self.kind, self.law = part, kind, law

    def runtest(self) -> None:
        """Fail if the law is broken, and skip if the layer refuses it."""
        from normlab.laws.checking import BROKEN, REFUSED, check, check_part
        from normlab.laws.recipe_laws import RECIPE_LAWS

        of_recipe = self.part in RECIPE_LAWS
        checked = (
            check_part(self.part, self.kind, [self.law])
            if of_recipe
            else check(self.kind, [self.law])
        )
        found: Outcome = next(iter(checked))
        if found.verdict == REFUSED:
            pytest.skip(found.detail)
        if found.verdict == BROKEN:
            raise LawBroken(found.detail)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show a broken law in one line."""
        if isinstance(excinfo.value, LawBroken):
            return f"{self.kind} breaks the law {self.law!r}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> Any:
        """Name the test."""
        return self.path, 0, self.name
