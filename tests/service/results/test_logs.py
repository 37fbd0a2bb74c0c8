from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from normlab.errors import InvalidSpec, NotFound
from normlab.events import Failed, Finished
from service.jobs import leases
from service.jobs.leases import Lease
from service.results import logs
from service.store.database import Database
from tests.service.work import claim, submit

LOST = Failed(code="worker_lost", failure_kind="lost", retryable=True, message="gone")


def _print(database: Database, held: Lease, start: int, data: bytes) -> None:
    with database.begin() as connection:
        assert leases.hold(connection, held)
        logs.append(connection, held, start, data)


def test_printed_text_can_be_read_from_any_offset(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    _print(database, held, 0, b"epoch 1\n")
    _print(database, held, 8, b"epoch 2\n")
    assert logs.read(database, job.id).text == "epoch 1\nepoch 2\n"
    assert logs.read(database, job.id, 6, 4).text == "1\nep"
    assert logs.read(database, job.id, -8).text == "epoch 2\n"
    assert logs.read(database, job.id, 10**9).text == ""


def test_a_piece_sent_again_is_stored_once(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    _print(database, held, 0, b"abc")
    _print(database, held, 0, b"abc")
    _print(database, held, 0, b"abcdef")
    _print(database, held, 4, b"efgh")
    assert logs.read(database, job.id).text == "abcdefgh"


def test_the_attempts_follow_each_other_in_one_log(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    _print(database, held, 0, b"first\n")
    leases.fail(database, held, LOST)
    _print(database, claim(database), 0, b"second\n")
    assert logs.read(database, job.id).text == "first\nsecond\n"


def test_the_end_is_reported_when_the_job_has_ended_and_everything_is_read(
    database: Database,
) -> None:
    job = submit(database)
    held = claim(database)
    _print(database, held, 0, b"0123456789")
    assert not logs.read(database, job.id).ended
    leases.finish(database, held, Finished(step=0, summary={}))
    assert not logs.read(database, job.id, 0, 4).ended
    assert logs.read(database, job.id, 4).ended


def test_a_long_log_is_stored_in_pieces_and_cut_at_its_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 100_000)
    job = submit(database)
    held = claim(database)
    _print(database, held, 0, b"x" * 90_000)
    _print(database, held, 90_000, b"y" * 90_000)
    _print(database, held, 180_000, b"z" * 90_000)
    text = logs.read(database, job.id).text
    assert text.startswith("x" * 90_000 + "y" * 10_000 + "\n[the log is full")
    assert "z" not in text


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("aé€😀\n"), min_size=1, max_size=40), limit=st.integers(4, 9))
def test_reading_piece_by_piece_splits_no_character(
    database: Database, text: str, limit: int
) -> None:
    job = submit(database)
    held = claim(database)
    _print(database, held, 0, text.encode())
    leases.finish(database, held, Finished(step=0, summary={}))
    found, offset, ended = "", 0, False
    while not ended:
        page = logs.read(database, job.id, offset, limit)
        assert page.next_offset > offset
        found, offset, ended = found + page.text, page.next_offset, page.ended
    assert found == text


def test_invalid_bytes_are_replaced(database: Database) -> None:
    job = submit(database)
    _print(database, claim(database), 0, b"a\xff\x00b")
    assert logs.read(database, job.id).text == "a\ufffd\0b"


def test_a_log_of_an_unknown_job_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        logs.read(database, "00000000-0000-7000-8000-000000000000")


def test_a_limit_out_of_range_is_refused(database: Database) -> None:
    with pytest.raises(InvalidSpec, match="limit"):
        logs.read(database, submit(database).id, 0, 0)
