"""The filters of a list of jobs."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, not_

from service.jobs.columns import ARCHIVED
from service.jobs.conditions import condition, is_named
from service.jobs.filter_costs import comparisons
from service.jobs.filters import FieldComparison, Filter, parse
from service.store import schema
from service.store.identity import parse_id
from service.store.sight import Sight, current

_j = schema.job.c


@dataclass(frozen=True)
class JobFilters:
    """The filters of a list; None keeps all jobs."""

    state: tuple[str, ...] | None = None
    device: tuple[str, ...] | None = None
    normalizer: tuple[str, ...] | None = None
    study: str | None = None
    owner: str | None = None
    project: str | None = None
    name: str | None = None
    """A part of the name of the job, or of its study if it has none; ignores case."""
    where: str | None = None
    """A filter in the language of `service.jobs.filters`."""
    trash: bool = False
    """Whether the jobs in the trash are listed instead of the others."""
    archived: bool | None = False
    """Whether archived jobs are listed instead; None: both, as when *where* names `archived`."""
    sight: Sight = field(default_factory=current)
    """The projects in sight; part of the filters, because queries are cached by them."""

    def asked(self) -> list[Filter]:
        """Return the filters by which rare jobs can be found; the others are only conditions."""
        found: list[Filter] = [parse(self.where)] if self.where else []
        for name in ("owner", "project"):
            if getattr(self, name) is not None:
                found.append(FieldComparison(name, "=", getattr(self, name)))
        for name in ("device", "normalizer"):
            if getattr(self, name) is not None:
                found.append(FieldComparison(name, "in", getattr(self, name)))
        if self.name is not None:
            found.append(FieldComparison("name", "~", self.name))
        return found

    def conditions(self) -> list[ColumnElement[bool]]:
        """Translate the filters into SQL."""
        found: list[ColumnElement[bool]] = []
        found.append(_j.trashed_at.isnot(None) if self.trash else _j.trashed_at.is_(None))
        found.append(self.sight.condition(_j.project))
        if self.project is not None:
            found.append(_j.project == self.project)
        for column, wanted in ((_j.state, self.state), (_j.device, self.device)):
            if wanted is not None:
                found.append(column.in_(wanted))
        if self.normalizer is not None:
            found.append(_j.normalizer.in_(self.normalizer))
        if self.study is not None:
            found.append(_j.study == parse_id(self.study, "study"))
        if self.owner is not None:
            found.append(_j.owner == self.owner)
        if self.name is not None:
            found.append(is_named(self.name))
        where = parse(self.where) if self.where else None
        if where is not None:
            found.append(condition(where))
        asked = where is not None and any(c.field == "archived" for c, _ in comparisons(where))
        if self.archived is not None and not asked and not self.trash:
            found.append(ARCHIVED if self.archived else not_(ARCHIVED))
        return found
