"""The notebooks of the documentation run here, cell by cell, against a real stack."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

import normlab

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("notebooks")
    with normlab.stack(folder, slots=2):
        yield folder


@pytest.fixture
def shown(
    request: pytest.FixtureRequest,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """Run the notebook that the test names; its names, and what its cells show."""
    monkeypatch.setenv("NORMLAB_DATA_DIR", str(data_dir))
    monkeypatch.setenv("NORMLAB_FIGURE", str(tmp_path / "losses.pdf"))
    monkeypatch.setenv("NORMLAB_PAPER", str(tmp_path / "figure.pdf"))
    mpl.use("agg")
    names: dict[str, Any] = {}
    cells = json.loads((FOLDER / request.param).read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    yield names, [run(cell, names) for cell in code]
    mpl.pyplot.close("all")


def run(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does, and return what its last line is."""
    *before, last = ast.parse(cell).body
    rest = [last] if not isinstance(last, ast.Expr) else []
    exec(compile(ast.Module([*before, *rest], []), "<cell>", "exec"), names)
    if rest:
        return None
    found = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    html = getattr(found, "_repr_html_", None)
    return html() if html else repr(found)


@pytest.mark.parametrize("shown", ["from-nothing-to-a-figure.ipynb"], indirect=True)
def test_a_notebook_goes_from_nothing_to_a_figure(
    shown: tuple[dict[str, Any], list[Any]], tmp_path: Path
) -> None:
    names, outputs = shown
    assert "notebook batches" in outputs[1]
    assert "8 runs" in outputs[2]
    assert names["table"]["count"].tolist() == [2, 2, 2, 2]
    assert names["table"]["mean"].notna().all()
    assert "batch_size" in outputs[4]
    for name in ("losses.pdf", "figure.pdf"):
        assert (tmp_path / name).read_bytes().startswith(b"%PDF")
    assert (tmp_path / "figure.means.csv").read_text().startswith("normalizer,batch_size,n,")
    assert "toprule" in (tmp_path / "figure.table.tex").read_text()


@pytest.mark.parametrize("shown", ["inside.ipynb"], indirect=True)
def test_a_notebook_looks_inside_a_network(shown: tuple[dict[str, Any], list[Any]]) -> None:
    names, outputs = shown
    assert "succeeded" in outputs[1]
    assert len(names["power"].values) == 7
    assert len(names["power"].values[0]) == 3
    assert "join" in set(names["layers"]["role"])
    assert len(names["sample"].x) == 8 * 8 * 16
