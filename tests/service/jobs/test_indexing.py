"""Index words of jobs older than the index are written while the store is in use."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from normlab.records.labels import Labels
from service.jobs import indexing, labels, rare
from service.jobs.filters import parse
from service.jobs.indexing import Indexer
from service.jobs.job_filters import JobFilters
from service.jobs.listing import list_jobs
from service.store.database import Database
from tests.many_jobs import fill
from tests.service.work import submit

JOBS = 500


@pytest.fixture
def earlier(database: Database) -> Database:
    """A store as an upgrade leaves it: no job has words."""
    fill(database, JOBS)
    with database.begin() as connection:
        connection.execute(text("delete from job_index"))
        connection.execute(text("insert into loop_place (loop) values ('words')"))
    return database


def words_of(database: Database) -> dict[str, list[int]]:
    with database.begin() as connection:
        found = connection.execute(text("select job, words from job_index")).all()
    return {str(row.job): sorted(row.words) for row in found}


def right_words_of(database: Database) -> dict[str, list[int]]:
    with database.begin() as connection:
        found = connection.execute(text("select id, job_words_of(job) as words from job")).all()
    return {str(row.id): sorted(row.words) for row in found}


def is_narrowed(database: Database) -> bool:
    with database.begin() as connection:
        return bool(rare.narrowed(connection, [parse("name ~ 'job 123'")]))


def test_filters_find_all_jobs_while_words_are_written(earlier: Database) -> None:
    halfway = Indexer(earlier, clock=itertools.count(step=10.0).__next__)
    found = []
    for written in (200, 200, JOBS + 1 - 400, 0):
        found.append(len(list_jobs(earlier, JobFilters(name="job 123")).jobs))
        assert not is_narrowed(earlier)
        assert halfway.round() == written
    assert found == [1, 1, 1, 1]
    assert is_narrowed(earlier)
    assert words_of(earlier) == right_words_of(earlier)


def test_a_job_that_is_renamed_meanwhile_is_found_by_its_new_name(earlier: Database) -> None:
    with earlier.begin() as connection:
        job = str(connection.execute(text("select id from job where name = 'job 7'")).scalar_one())
    labels.change(earlier, job, Labels(name="something new"))
    submit(earlier, name="one more")
    assert len(words_of(earlier)) == 2
    assert Indexer(earlier, clock=lambda: 0.0).round() == JOBS + 2
    assert words_of(earlier) == right_words_of(earlier)


_WAITING = text("select count(*) from pg_locks where not granted and pid <> pg_backend_pid()")


def test_a_renaming_and_the_indexer_do_not_wait_for_each_other(earlier: Database) -> None:
    with ThreadPoolExecutor() as pool, earlier.begin() as connection:
        lock = text("select id from job where name = 'job 7' for update")
        job = connection.execute(lock).scalar_one()
        written = pool.submit(Indexer(earlier, clock=lambda: 0.0).round)
        while not connection.execute(_WAITING).scalar_one():
            assert not written.done()
        rename = text("update job set name = 'something new' where id = :job")
        connection.execute(rename, {"job": job})
        connection.commit()
        assert written.result() == JOBS + 1
    assert words_of(earlier) == right_words_of(earlier)


def test_several_indexers_at_once_write_each_word_once(earlier: Database) -> None:
    rounds = [threading.Thread(target=Indexer(earlier).round) for _ in range(3)]
    for one in rounds:
        one.start()
    for one in rounds:
        one.join()
    while Indexer(earlier).round():
        pass
    with earlier.begin() as connection:
        assert indexing.is_whole(connection)
    assert words_of(earlier) == right_words_of(earlier)


def test_a_new_store_has_nothing_to_write(database: Database) -> None:
    submit(database)
    assert Indexer(database).round() == 0
    assert words_of(database) == right_words_of(database)
