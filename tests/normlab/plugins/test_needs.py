"""A plugin says which packages it needs, and an interpreter has them or not."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import pytest

from normlab.errors import InvalidSpec
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.loading import load
from normlab.plugins.needs import unmet
from normlab.specs import registries
from tests.normlab.plugins.authors import MY_NORMS, source

HERE = {"Foo_Bar": "0.7.2", "odd": "built by hand", "python": "3.8.10"}


def with_needs(needs: str) -> str:
    return MY_NORMS.replace("batch_independent=True)", f"needs={needs})")


def loaded(text: str, folder: Path) -> PluginDescription:
    return load(source("needy.py", text).written_below(folder), "needy.py")


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        (["foo-bar>=0.7", "odd", "python>=3.8"], []),
        (["foo-bar>=0.8"], ["foo-bar>=0.8 is needed, and 0.7.2 is installed"]),
        (["python>=3.10"], ["python>=3.10 is needed, and 3.8.10 is installed"]),
        (["einops"], ["einops is not installed"]),
        (["odd>=1"], ["odd>=1 is needed, and built by hand is installed"]),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(
    needs: Sequence[str], told: Sequence[str]
) -> None:
    assert unmet(needs, HERE) == told


def test_a_plugin_needs_what_any_of_its_names_needs(tmp_path: Path) -> None:
    text = with_needs("('Ein_ops>=0.7', 'rich')")
    assert loaded(text, tmp_path).needs == ("ein-ops>=0.7", "rich")
    assert loaded(text, tmp_path).plugin().needs == ("ein-ops>=0.7", "rich")


@pytest.mark.parametrize(
    ("needs", "rule"),
    [
        ("'einops'", "is a string"),
        ("('einops==',)", "not a requirement"),
        ("(3,)", "not a requirement"),
        ("('a @ https://example.org/a.whl',)", "address, extra or condition cannot"),
        ("('a[b]',)", "address, extra or condition cannot"),
    ],
)
def test_needs_that_nobody_can_compare_are_refused(needs: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=rule):
        loaded(with_needs(needs), tmp_path)


@pytest.mark.usefixtures("no_plugins")
def test_what_is_declared_in_a_text_without_a_module_is_in_force_with_its_needs() -> None:
    exec(with_needs("('rich',)"), {})
    assert {plugin.needs for plugin in registries.in_force()} == {(), ("rich",)}
