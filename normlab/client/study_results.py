"""Read studies over HTTP: their cells, tables, figures and decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from normlab.client import references
from normlab.client.transport import Transport
from normlab.records import (
    CellPage,
    CellRecord,
    ComparisonTable,
    DifferenceTable,
    ResultTable,
    SearchHistory,
    StudyDetail,
)
from normlab.records.decisions import DecisionTable

if TYPE_CHECKING:
    import pandas as pd


class StudyResults:
    """The part of `client.studies` that reads studies."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.study_id = references.studies(transport).full

    def get(self, study: str) -> StudyDetail:
        """Return a study with all its cells, page by page."""
        found = self._detail(study)
        grid = [*found.grid, *self._cells(found.id, found.next_cursor)]
        return found.model_copy(update={"grid": grid, "next_cursor": None})

    def summary(self, study: str) -> StudyDetail:
        """Return a study without its cells, however large it is."""
        return self._detail(study, cells=0)

    def results(
        self,
        study: str,
        *,
        group_by: Optional[Sequence[str]] = None,
        where: Optional[Mapping[str, str]] = None,
        metric: Optional[str] = None,
        reduction: str = "last",
        interval: str = "t",
        confidence: float = 0.95,
    ) -> ResultTable:
        """
        Tabulate a metric over the study's cells, with means over seeds only.

        Args:
            study: its id.
            group_by: paths that form the rows; None: all that vary; with `seed`: one row per job.
                Omitted paths may not vary within a row.
            where: path to label, as in the rows: only the cells with these values.
            metric: its name; None: the accuracy, or what the task shows in its place.
            reduction: last, best, area, or mean_last:K.
            interval: t or bootstrap.
            confidence: its coverage.

        Raises:
            InvalidSpec: a row would pool cells that differ in more than their seed.
        """
        params = {
            "group_by": None if group_by is None else list(group_by),
            "where": [f"{path}={name}" for path, name in (where or {}).items()] or None,
            "metric": metric,
            "reduction": reduction,
            "interval": interval,
            "confidence": confidence,
        }
        path = self._path(study, "/results")
        return self.transport.record(ResultTable, "GET", path, params=params)

    def metrics(self, study: str) -> List[str]:
        """Return the names of the metrics that any job of the study has reported."""
        names: List[str] = self.transport.send("GET", self._path(study, "/metrics")).json()
        return names

    def frame(
        self,
        study: str,
        metrics: Union[str, Sequence[str], None] = None,
        *,
        reduction: str = "last",
    ) -> pd.DataFrame:
        """
        Return the results as a pandas frame with one row per job.

        Paths keep their types (`batch_size` is int64), a value with options is its label, such as
        `group(groups=4)`; `state` is a category, each metric a column of floats.

        Args:
            study: its id.
            metrics: their names, or one; None: every metric that a job of the study reported.
            reduction: last, best, area, or mean_last:K; of each metric.

        Raises:
            InvalidSpec: no job of the study reported such a metric; the message has similar names.
        """
        from normlab.client.frames import frame

        names = [metrics] if isinstance(metrics, str) else metrics
        names = self.metrics(study) if names is None else names
        tables = [self.results(study, metric=name, reduction=reduction) for name in names]
        return frame(self.get(study), tables)

    def compare(
        self,
        study: str,
        axis: str,
        a: str,
        b: str,
        metric: Optional[str] = None,
        **question: Any,
    ) -> ComparisonTable:
        """Compare two values of *axis* seed by seed: a minus b, with its interval."""
        params = {"axis": axis, "a": a, "b": b, "metric": metric, **question}
        path = self._path(study, "/compare")
        return self.transport.record(ComparisonTable, "GET", path, params=params)

    def differences(
        self,
        study: str,
        axis: str,
        against: str,
        where: Optional[Mapping[str, str]] = None,
        **question: Any,
    ) -> DifferenceTable:
        """
        Subtract from each row the one with the value *against* of *axis*, seed by seed.

        Args:
            study: its id.
            axis: a path that the study varies.
            against: the label of the reference value.
            where: path to label: only the cells with these values; the tests are one family.
            question: metric, reduction, interval, confidence, as for results.
        """
        chosen = [f"{path}={name}" for path, name in (where or {}).items()] or None
        params = {"axis": axis, "against": against, "where": chosen, **question}
        path = self._path(study, "/differences")
        return self.transport.record(DifferenceTable, "GET", path, params=params)

    def plot(
        self,
        study: str,
        target: Union[str, Path],
        group_by: Sequence[str],
        *,
        where: Optional[Mapping[str, str]] = None,
        against: Optional[Tuple[str, str]] = None,
        spread: str = "interval",
        **question: Any,
    ) -> Path:
        """
        Draw the figure of `normlab results --plot`, with its means and its table beside it.

        Args:
            study: its id.
            target: a .pdf, .svg or .png file; NAME.means.csv and NAME.table.tex are written beside
                it.
            group_by: one to three paths: for lines or rows, for the horizontal axis, for panels.
            where: path to label: only the cells with these values.
            against: an axis and the label of a reference; stars mark what differs from it.
            spread: what is drawn around a mean: interval, sd, range, none.
            question: metric, reduction, interval, confidence, as for results.
        """
        from normlab.presentation.figures import FigureQuestion, draw_into

        table = self.results(study, group_by=group_by, where=where, **question)
        compared = None
        if against is not None:
            compared = self.differences(study, *against, where=where, **question)
        figure = FigureQuestion(table=table, spread=spread, against=compared)
        return draw_into(Path(target), figure)

    def search(self, study: str) -> SearchHistory:
        """
        Return the trials of a search, the best one, and which parameters matter.

        Raises:
            NotFound: the study is a grid.
        """
        return self.transport.record(SearchHistory, "GET", self._path(study, "/search"))

    def decision(self, study: str) -> DecisionTable:
        """
        Return the verdict of each comparison of a study with `decide`, and its looks.

        Raises:
            NotFound: the study decides nothing.
        """
        return self.transport.record(DecisionTable, "GET", self._path(study, "/decision"))

    def _detail(self, study: str, **params: Any) -> StudyDetail:
        answer = self.transport.send("GET", f"/studies/{self.study_id(study)}", params=params)
        return StudyDetail.model_validate_json(answer.content)

    def _cells(self, study: str, cursor: Optional[str]) -> Iterator[CellRecord]:
        while cursor is not None:
            answer = self.transport.send(
                "GET", f"/studies/{study}/cells", params={"cursor": cursor}
            )
            page = CellPage.model_validate_json(answer.content)
            yield from page.cells
            cursor = page.next_cursor

    def _path(self, study: str, below: str = "") -> str:
        return f"/studies/{self.study_id(study)}{below}"
