"""If few jobs match, they are found by their words, with the same result as without words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, event, text

from normlab.records.labels import Labels
from normlab.records.tables import TableQuestion
from service.jobs import labels, listing, rare, table
from service.jobs.job_filters import JobFilters
from service.jobs.listing import list_jobs
from service.store.database import Database
from tests.many_jobs import fill
from tests.service.work import submit

JOBS = 500
A_STUDY = "0197b2a4-0000-7000-8000-000000000000"
_STUDY = text("""
    insert into study (id, name, owner, spec, state, fingerprint)
    values (cast(:id as uuid), 'Rare things', 'ada', '{}', 'complete', 'f')
""")
# three cells without names of their own, in the study
_CELLS = text("""
    update job set study = cast(:id as uuid), cell = seed::text, name = null where seed in (7, 8, 9)
""")
_NOTE = text("update job_index set words = job_words_of(one) from job one where one.id = job")


@pytest.fixture
def store(database_url: str) -> Iterator[Database]:
    with Database(database_url, pool_size=1) as opened:
        fill(opened, JOBS)
        for name, fields in (
            ("Größe 3 of ABC", {"optimizer": {"lr": 0.0137}}),
            ("50% of _all_", {"epochs": 17, "normalizer": "layer"}),
            ("", {"checkpoint": {"keep": 7}, "max_attempts": 7}),
        ):
            submit(opened, owner="eve", **{"name": name or None, **fields})
        with opened.begin() as connection:
            connection.execute(_STUDY, {"id": A_STUDY})
            connection.execute(_CELLS, {"id": A_STUDY})
            connection.execute(_NOTE)  # the study of a job is set only when the job is added
        with opened.autocommit() as connection:
            connection.execute(text("vacuum analyze job, job_index"))
        yield opened


FILTERS = {
    "name ~ 'OB 17'": 11,
    "name ~ 'b 499'": 1,
    "name ~ 'abc' or name ~ '50%'": 2,
    "name ~ 'größe'": 1,
    "name ~ 'e 3'": 1,
    "name ~ 'all_'": 1,
    "name ~ 'rare t'": 3,
    "name ~ 'nowhere'": 0,
    "name ~ 'job 123'": 1,
    "name ~ 'b 12'": 11,
    "name ~ '3 OF ABC'": 1,
    "name ~ 'öße 3'": 1,
    "lr = 0.0137": 1,
    "optimizer.lr in (0.0137, 77)": 1,
    "epochs = 17": 1,
    "max_attempts = 7": 1,
    "max_attempts = 7 and owner = eve": 1,
    "max_attempts = 7 and owner = bob": 0,
    "owner = eve and not normalizer = layer": 2,
    "owner = eve and optimizer.nesterov = false": 3,
    "checkpoint.keep = 7": 1,
    "checkpoint.keep = '7'": 1,
    "normalizer = layer or seed = 5": 2,
    "proxy = true": 0,
}


def found_by(database: Database, where: str) -> list[str]:
    return [job.id for job in list_jobs(database, JobFilters(where=where), limit=1000).jobs]


def test_a_filter_finds_the_same_jobs_by_words_and_without(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_words = {where: found_by(store, where) for where in FILTERS}
    assert {where: len(found) for where, found in by_words.items()} == FILTERS
    monkeypatch.setattr(listing, "narrowed", lambda *_: [])
    assert {where: found_by(store, where) for where in FILTERS} == by_words


NARROWED = {
    "a part of a name": JobFilters(name="b 499"),
    "a part of the name of a study": JobFilters(name="rare t"),
    "an owner": JobFilters(owner="eve"),
    "a normalizer": JobFilters(normalizer=("layer",)),
    "a rate": JobFilters(where="lr = 0.0137"),
    "one of two": JobFilters(where="name ~ 'abc' or epochs = 17"),
    "sorted by something else": JobFilters(where="lr = 0.0137"),
}


def test_a_question_that_few_jobs_match_does_not_read_the_others(store: Database) -> None:
    for what, filters in NARROWED.items():
        sort = "-val/accuracy" if what.startswith("sorted") else "-created_at"
        before = rows_read(store)
        assert list_jobs(store, filters, sort).jobs
        assert rows_read(store) - before < 100, what
    before = rows_read(store)
    question = TableQuestion(columns=["id"], filter="max_attempts = 7", count=True)
    assert table.read(store, question).total == 1
    assert rows_read(store) - before < 100


def rows_read(database: Database) -> int:
    """Count the rows of jobs that were read so far, by an index or not."""
    with database.autocommit() as connection:
        connection.execute(text("select pg_stat_force_next_flush()"))
    with database.autocommit() as connection:
        read = text("""
            select seq_tup_read + coalesce(idx_tup_fetch, 0)
            from pg_stat_user_tables where relname = 'job'
        """)
        return int(connection.execute(read).scalar_one())


def test_jobs_that_are_many_are_not_looked_up(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rare, "MOST", 50)
    seen: list[str] = []

    def note(_: Connection, __: object, statement: str, *___: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        jobs = list_jobs(store, JobFilters(owner="bob")).jobs
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(jobs) == 100
    asked = [one for one in seen if "job_index" in one]
    assert [one.startswith("explain") for one in asked] == [True]


def test_a_job_is_found_by_its_new_name(database: Database) -> None:
    job = submit(database, name="an old name").id
    labels.change(database, job, Labels(name="something new"))
    assert list_jobs(database, JobFilters(name="old name")).jobs == []
    assert [one.id for one in list_jobs(database, JobFilters(name="THING NEW")).jobs] == [job]
