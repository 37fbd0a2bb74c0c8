"""`normlab gc` tells what it has removed, also before an error."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Iterator

import pytest

from normlab.cli import trash
from normlab.errors import ServiceUnavailable
from normlab.records.keeping import ExpiredRecord, TrashRecord


def removed(project: str) -> Iterator[ExpiredRecord]:
    if project == "second":
        raise ServiceUnavailable("no answer for the second project")
    yield ExpiredRecord(job="5f0c9a41", kind="checkpoint", files=["a.ckpt"], bytes=1)


@contextmanager
def connect(ctx: Any) -> Iterator[Any]:
    rules = SimpleNamespace(checkpoints_days=1, weights_days=None, logs_days=None)
    projects = [SimpleNamespace(name=name, role="admin") for name in ("first", "second")]
    found = TrashRecord(jobs=2, studies=0, bytes=7, oldest=None, days=30)
    yield SimpleNamespace(
        trash=SimpleNamespace(summary=lambda: found, empty=lambda: found),
        projects=SimpleNamespace(list=lambda: projects),
        keeping=SimpleNamespace(rules=lambda name: rules, remove_expired=removed),
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_removed_before_an_error_is_told(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trash, "connect", connect)
    context: Any = None
    with pytest.raises(ServiceUnavailable):
        trash.gc(context, dry_run=False, as_json=as_json)
    out = capsys.readouterr().out
    if as_json:
        assert [one["job"] for one in json.loads(out)["expired"]] == ["5f0c9a41"]
    else:
        assert "a.ckpt" in out
        assert "purging 2 jobs" in out
