"""A plugin is described by a process of its own, and takes nothing else down."""

from __future__ import annotations

from normlab.plugins.describing import Trouble, describe
from normlab.plugins.descriptions import PluginDescription
from tests.normlab.plugins.authors import BROKEN, mine, source


def test_a_broken_plugin_is_named_with_its_reason_and_the_others_are_described() -> None:
    broken = [source(name, text) for name, (text, _) in BROKEN.items()]
    *troubles, good = describe([*broken, mine()], within_s=5)
    for trouble, (name, (_, reason)) in zip(troubles, BROKEN.items()):
        assert isinstance(trouble, Trouble), name
        assert trouble.name == name
        assert reason in trouble.reason
    assert isinstance(good, PluginDescription)
    assert good.digest == mine().digest


def test_a_traceback_shows_the_authors_line() -> None:
    (trouble,) = describe([source("divides.py", "x = 1\ny = x / 0\n")])
    assert isinstance(trouble, Trouble)
    assert "line 2" in trouble.traceback


def test_nothing_to_describe_starts_no_process() -> None:
    assert describe([], python="/no/such/python") == []
