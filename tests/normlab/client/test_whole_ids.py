"""Ids of jobs in the frames of a notebook are not broken over lines."""

from __future__ import annotations

import pickle

import pytest

from normlab.client.whole_ids import with_whole_ids

pd = pytest.importorskip("pandas")
ID = "0192f1c0-5b3e-7d10-8a41-1f0c9a41d2e7"
WHOLE = f'style="white-space: nowrap">{ID}</'


def test_an_id_stays_on_one_line_as_an_index_and_in_a_column() -> None:
    by_job = with_whole_ids(pd.DataFrame({"epochs": [3]}, index=[ID]))._repr_html_()
    assert f"<th {WHOLE}th>" in by_job
    assert "<td>3</td>" in by_job, "other cells are left as they are"
    in_column = with_whole_ids(pd.DataFrame({"id": [ID]}))._repr_html_()
    assert f"<td {WHOLE}td>" in in_column


def test_a_frame_with_whole_ids_is_an_ordinary_frame() -> None:
    frame = pd.DataFrame({"id": [ID]})
    again = pickle.loads(pickle.dumps(with_whole_ids(frame.copy())))
    assert type(again) is pd.DataFrame
    pd.testing.assert_frame_equal(again, frame)


def test_a_notebook_without_html_has_none_here_either() -> None:
    with pd.option_context("display.notebook_repr_html", False):
        assert with_whole_ids(pd.DataFrame({"id": [ID]}))._repr_html_() is None
