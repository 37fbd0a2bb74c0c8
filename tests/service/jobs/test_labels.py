"""Names, notes, tags and the archive: found by filters, and hidden by lists; no more changes."""

from __future__ import annotations

from typing import Any

import pytest

from normlab.errors import Conflict, InvalidSpec
from normlab.records.labels import Labels
from normlab.records.tables import TableQuestion
from normlab.specs.studies import StudySpec
from service.jobs import changes, labels, listing, names, reading, table, trash
from service.jobs.job_filters import JobFilters
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database
from service.studies import changes as study_changes, details, studies
from service.studies.listing import list_studies
from tests.service.work import submit

HERE: dict[str, Any] = {"place": lambda _: ("cpu", "a test"), "check": lambda _: []}
ADA = Actor("ada")


def label(database: Database, job: str, **asked: Any) -> None:
    labels.change(database, job, Labels.read(asked), ADA)


def found(database: Database, where: str | None = None, **how: Any) -> set[str]:
    filters = JobFilters(where=where, **how)
    return {job.id for job in listing.list_jobs(database, filters).jobs}


def a_study(database: Database, name: str = "s", seeds: int = 2) -> tuple[str, set[str]]:
    wanted = StudySpec(name=name, base={"normalizer": "batch"}, seeds=tuple(range(seeds)))
    study = studies.create(database, wanted, owner="ada", **HERE)[0].id
    return study, {str(cell.job) for cell in details.get(database, study).grid}


def test_name_note_and_tags_of_a_job_change_and_its_specification_does_not(
    database: Database,
) -> None:
    job = submit(database, name="first").id
    before = reading.get(database, job)
    label(database, job, name="second", note="two\nlines", tags=["paper", "figure 3"])
    after = reading.get(database, job)
    assert (after.name, after.note, after.tags) == ("second", "two\nlines", ["paper", "figure 3"])
    assert (after.spec, after.fingerprint) == (before.spec, before.fingerprint)
    label(database, job, add_tags=["a", "paper"], remove_tags=["figure 3", "none"])
    assert reading.get(database, job).tags == ["paper", "a"]
    label(database, job, note=None, tags=None, name=None)
    gone = reading.get(database, job)
    assert (gone.name, gone.note, gone.tags) == (None, None, [])


def test_filters_find_tags_of_jobs_and_of_their_studies(database: Database) -> None:
    one, other = submit(database).id, submit(database, seed=1).id
    study, cells = a_study(database)
    label(database, one, tags=["paper", "2026"])
    study_changes.label(database, study, Labels(tags=["paper"]))
    assert found(database, 'tag = "paper"') == {one, *cells}
    assert found(database, "tag != paper") == {other}
    assert found(database, "tag = 2026") == {one}
    assert found(database, "tag in (2026, other)") == {one}
    assert found(database, "tag ~ APE and not tag ~ 20") == cells
    asked = TableQuestion(columns=["tag"], filter="tag = 2026")
    assert [row.value0 for row in table.read(database, asked).rows] == ["2026, paper"]
    fields = {field.name: field for field in names.names(database).fields}
    assert fields["tag"].choices == ["2026", "paper"]
    with pytest.raises(InvalidSpec, match="tags take = != in and ~"):
        found(database, "tag > 3")


def test_archived_jobs_are_hidden_unless_they_are_asked_for(database: Database) -> None:
    job, other = submit(database).id, submit(database, seed=1).id
    study, cells = a_study(database)
    label(database, job, archived=True)
    study_changes.label(database, study, Labels(archived=True))
    assert found(database) == {other}
    assert found(database, "seed >= 0") == {other}
    assert found(database, archived=True) == {job, *cells}
    assert found(database, "archived = true and seed = 0") == {
        job, *(cell for cell in cells if reading.get(database, cell).spec.seed == 0),
    }  # fmt: skip
    assert found(database, archived=None) == {job, other, *cells}
    named = TableQuestion(columns=["id"], jobs=[job])
    assert len(table.read(database, named).rows) == 1
    assert [one.id for one in list_studies(database).studies] == []
    assert [one.id for one in list_studies(database, archived=True).studies] == [study]
    label(database, job, archived=False)
    study_changes.label(database, study, Labels(archived=False))
    assert found(database) == {job, other, *cells}


def test_a_renamed_study_stays_the_same_study_and_keeps_its_name_when_it_grows(
    database: Database,
) -> None:
    study, _ = a_study(database)
    study_changes.label(database, study, Labels(name="renamed", note="why"))
    assert a_study(database)[0] == study
    larger = StudySpec(name="s", base={"normalizer": "batch"}, seeds=(0, 1, 2))
    grown = studies.extend(database, study, larger, owner="ada", **HERE)
    assert (grown.id, grown.name, grown.note, grown.cells) == (study, "renamed", "why", 3)
    with pytest.raises(InvalidSpec, match="a study needs a name"):
        study_changes.label(database, study, Labels(name=None))


def test_labels_are_in_the_audit_trail_and_an_unchanged_one_is_not(database: Database) -> None:
    job = submit(database).id
    label(database, job, tags=["paper"], archived=True)
    label(database, job, add_tags=["paper"], archived=True)
    records = audit.read(database, action="job.label").records
    told = [(one.owner, one.target, one.details) for one in records]
    assert told == [("ada", job, {"tags": ["paper"], "archived": True})]


def test_labels_that_do_not_fit_are_refused_by_name(database: Database) -> None:
    job = submit(database).id
    label(database, job, tags=[f"t{i}" for i in range(20)])
    with pytest.raises(InvalidSpec, match="tags: 21 tags are too many; keep at most 20"):
        label(database, job, add_tags=["one more"])
    with pytest.raises(InvalidSpec, match="name at least one of name, note"):
        label(database, job)
    for wrong in ({"tags": ["a,b"]}, {"tags": [""]}, {"add_tags": [" a"]}, {"note": "\x00"}):
        with pytest.raises(InvalidSpec):
            label(database, job, **wrong)
    changes.cancel(database, job)
    trash.trash(database, job)
    with pytest.raises(Conflict, match="in the trash; restore it first"):
        label(database, job, note="x")
