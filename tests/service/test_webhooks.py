"""Messages to webhooks are stored with their event, signed, and repeated until they arrive."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from normlab.errors import InvalidSpec
from service.jobs import workers
from service.settings import Settings
from service.store.database import Database
from service.studies import studies
from service.webhooks.deliveries import Deliverer, waiting
from service.webhooks.news import Herald
from tests.answering import Answers, answering
from tests.service.finishing import finish_all, made

SECRET = "a secret of two sides"
STUDY = {
    "name": "kinds",
    "base": {"normalizer": "batch", "dataset": {"name": "digits"}, "batch_size": 2},
    "axes": [{"normalizer": ["batch", "layer"]}],
}


class Receiver:
    """A webhook that answers with what is in *answers*, and then with 200."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    @property
    def kinds(self) -> list[str]:
        return [json.loads(body)["kind"] for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(Answers):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append((dict(self.headers.items()), body))
            self.send_response(made.answers.pop(0) if made.answers else 200)
            self.end_headers()

    with answering(Handler) as port:
        made.url = f"http://127.0.0.1:{port}/hook"
        yield made


def _deliverer(database: Database) -> Deliverer:
    return Deliverer(database, SecretStr(SECRET))


def _wait_is_over(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("update delivery set due_at = clock_timestamp()"))


def test_an_ended_study_is_told_once_and_signed(database: Database, receiver: Receiver) -> None:
    herald = Herald(database, [receiver.url], 0)
    study = made(database, STUDY)
    assert herald.round() == 0
    finish_all(database)
    assert (herald.round(), herald.round()) == (1, 0)
    assert (_deliverer(database).round(), _deliverer(database).round()) == (1, 0)
    ((headers, body),) = receiver.got
    told = json.loads(body)
    assert (told["kind"], told["study"]["id"]) == ("study.ended", study)
    assert told["study"]["counts"] == {"succeeded": 2}
    moment, _, signed = headers["X-Normlab-Signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(SECRET.encode(), moment.encode() + b"." + body, "sha256").hexdigest()
    assert hmac.compare_digest(signed, expected)
    assert headers["X-Normlab-Delivery"] == told["id"]


def test_a_study_that_goes_on_is_told_again_when_it_ends(
    database: Database, receiver: Receiver
) -> None:
    herald = Herald(database, [receiver.url], 0)
    study = made(database, STUDY)
    finish_all(database, failing=("layer", 0))
    assert herald.round() == 1
    studies.complete(database, study, place=lambda _: ("cpu", "test"))
    assert herald.round() == 0
    finish_all(database)
    assert herald.round() == 1


def test_a_message_is_tried_again_until_the_receiver_takes_it(
    database: Database, receiver: Receiver
) -> None:
    made(database, STUDY)
    finish_all(database)
    Herald(database, [receiver.url], 0).round()
    receiver.answers = [500, 302]
    for _ in range(2):
        assert _deliverer(database).round() == 0
        assert _deliverer(database).round() == 0  # not at once
        _wait_is_over(database)
    _deliverer(database)._take()  # a process takes it, and dies
    assert _deliverer(database).round() == 0
    assert waiting(database).n == 1
    _wait_is_over(database)
    assert _deliverer(database).round() == 1
    assert waiting(database) == (0, 0)
    assert len({body for _, body in receiver.got}) == 1


def test_a_receiver_that_is_away_does_not_keep_others_from_their_messages(
    database: Database, receiver: Receiver
) -> None:
    made(database, STUDY)
    finish_all(database)
    Herald(database, ["http://127.0.0.1:1/", receiver.url], 0).round()
    assert _deliverer(database).round() == 1
    with database.begin() as connection:
        problem = connection.execute(text("select problem from delivery where tries = 1"
                                          " and delivered_at is null")).scalar_one()  # fmt: skip
    assert problem == "no answer from the receiver: Connection refused"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "the receiver refused it (status 404)"),
        (503, "the receiver failed (status 503)"),
        (301, "the receiver names another address (status 301); give that one in NORMLAB_WEBHOOKS"),
    ],
)
def test_what_a_receiver_says_of_a_message_is_kept_in_words(
    database: Database, receiver: Receiver, status: int, words: str
) -> None:
    made(database, STUDY)
    finish_all(database)
    Herald(database, [receiver.url], 0).round()
    receiver.answers = [status]
    assert _deliverer(database).round() == 0
    with database.begin() as connection:
        assert connection.execute(text("select problem from delivery")).scalar_one() == words


@pytest.mark.parametrize("url", ["http://a:x/", "http://a:99999/", "http://a..b/", "nowhere"])
def test_an_address_that_cannot_be_one_is_recorded_and_keeps_no_message_from_others(
    database: Database, receiver: Receiver, url: str
) -> None:
    made(database, STUDY)
    finish_all(database)
    Herald(database, [url, receiver.url], 0).round()
    assert _deliverer(database).round() == 1
    with database.begin() as connection:
        waits = text("select problem from delivery where delivered_at is null and url = :url")
        assert connection.execute(waits, {"url": url}).scalar_one()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a:x/", "Invalid port: 'x'"),
        ("http://a:99999/", "there is no port 99999"),
        ("http://a..b/", "label empty"),
        ("http://a/b c", "contains a space"),
        ("ftp://a/b", "no scheme"),
        ("https:///hook", "no host"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_at_the_start(
    url: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_WEBHOOKS", f"https://chat.example/hook,{url}")
    monkeypatch.setenv("NORMLAB_WEBHOOK_SECRET", SECRET)
    with pytest.raises(InvalidSpec, match=rf"NORMLAB_WEBHOOKS: '{url}' is no .*{why}"):
        Settings.from_env()


def _beat(database: Database, silence_s: float) -> None:
    workers.beat(
        database,
        worker="w",
        device="cpu",
        hostname="h",
        slots=1,
        busy=1,
        description="a CPU",
        memory_bytes=None,
        versions={},
        silence_s=silence_s,
    )


def test_a_worker_that_falls_silent_is_told_once_each_time(
    database: Database, receiver: Receiver
) -> None:
    herald = Herald(database, [receiver.url], 0)
    _beat(database, 30)
    assert herald.round() == 0
    for _ in range(2):
        _beat(database, -1)  # as if that time had passed
        assert (herald.round(), herald.round()) == (1, 0)
    workers.leave(database, "w")
    assert herald.round() == 0
    _deliverer(database).round()
    assert receiver.kinds == ["worker.lost"] * 2
    assert json.loads(receiver.got[0][1])["worker"]["hostname"] == "h"


def test_workers_are_not_lost_just_because_the_database_was_away(database: Database) -> None:
    _beat(database, -(10**6))
    assert Herald(database, [], patience_s=10**5).round() == 0  # longer than the server is up


def test_what_ended_before_there_was_a_webhook_is_not_told(
    database: Database, receiver: Receiver
) -> None:
    made(database, STUDY)
    finish_all(database)
    assert Herald(database, [], 0).round() == 1
    assert Herald(database, [receiver.url], 0).round() == 0


def test_webhooks_need_a_secret_which_no_log_shows() -> None:
    with pytest.raises(ValueError, match="NORMLAB_WEBHOOKS needs NORMLAB_WEBHOOK_SECRET"):
        Settings(webhooks="https://chat.example/hook")
    settings = Settings(webhooks="https://chat.example/hook", webhook_secret=SECRET)
    assert SECRET in settings.secrets
    with pytest.raises(ValueError, match="webhooks"):
        Settings(webhooks="file:///etc/passwd", webhook_secret=SECRET)
