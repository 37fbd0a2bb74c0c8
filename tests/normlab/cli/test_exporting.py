"""`normlab export` names what it has written, also before an error."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from normlab.cli.exporting import _to_folders
from normlab.cli.output import print_each
from normlab.errors import ServiceUnavailable
from normlab.exports.run import Run
from tests.normlab.exports.jobs import a_run


def test_files_that_were_written_before_an_error_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def runs() -> Iterator[Run]:
        yield a_run()
        raise ServiceUnavailable("no answer for the second job")

    with pytest.raises(ServiceUnavailable):
        print_each(_to_folders(None, runs(), tmp_path, False, False, nested=False), False, str)
    (written,) = capsys.readouterr().out.splitlines()
    assert Path(written).parent == tmp_path
    assert "val/accuracy" in Path(written).read_text()
