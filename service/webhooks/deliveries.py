"""Deliver signed messages to webhooks, and repeat until the receiver has accepted them."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any, NamedTuple

import httpx
import orjson
import structlog
from pydantic import SecretStr
from sqlalchemy import text

from normlab.stacks.proxies import why_silent
from service.store.database import Database

TRIED_FOR = "interval '3 days'"
_TIMEOUT_S = 10.0
_AT_ONCE = 20
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 3600.0
# Due again later, so that nothing is lost if this process dies during the delivery.
_TAKE = text(f"""
    update delivery set tries = tries + 1, due_at = clock_timestamp() + interval '60 seconds'
    where id = (
        select id from delivery
        where delivered_at is null and due_at <= clock_timestamp()
            and created_at > clock_timestamp() - {TRIED_FOR}
        order by due_at limit 1 for update skip locked
    )
    returning id, url, kind, body, tries
""")
_DELIVERED = text("""
    update delivery set delivered_at = clock_timestamp(), problem = null where id = :id
""")
_AGAIN = text("""
    update delivery set problem = :problem,
        due_at = clock_timestamp() + make_interval(secs => :pause_s)
    where id = :id
""")
_TRIM = text("delete from delivery where created_at < clock_timestamp() - interval '30 days'")
_WAITING = text(f"""
    select count(*) as n,
        coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as oldest_s
    from delivery where delivered_at is null and created_at > clock_timestamp() - {TRIED_FOR}
""")
# an address stored before addresses were checked may have an invalid port or host
_UNSENT = (httpx.HTTPError, httpx.InvalidURL, ValueError, OverflowError)
_log = structlog.get_logger(__name__)


class Waiting(NamedTuple):
    """The messages that are not delivered yet: how many, and the age of the oldest."""

    n: int
    oldest_s: float


class Deliverer:
    """
    Delivers due messages; any number of processes may. A receiver may get a message twice.

    Args:
        secret: signs each message.
        transport: another one of httpx, for tests.
    """

    def __init__(
        self, database: Database, secret: SecretStr, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._database = database
        self._secret = secret.get_secret_value().encode()
        self._transport = transport

    def round(self) -> int:
        """Deliver some of the due messages; return how many have arrived."""
        arrived = 0
        with httpx.Client(transport=self._transport, timeout=_TIMEOUT_S) as client:
            for _ in range(_AT_ONCE):
                message = self._take()
                if message is None:
                    break
                arrived += self._deliver(client, message)
        return arrived

    def _take(self) -> Any:
        with self._database.begin() as connection:
            return connection.execute(_TAKE).first()

    def _deliver(self, client: httpx.Client, message: Any) -> int:
        body = orjson.dumps(message.body)
        headers = {
            "Content-Type": "application/json",
            "X-Normlab-Delivery": str(message.id),
            "X-Normlab-Event": message.kind,
            "X-Normlab-Signature": signature(self._secret, body, int(time.time())),
        }
        try:
            answer = client.post(message.url, content=body, headers=headers)
            problem = None if answer.is_success else _refusal(answer)
        except _UNSENT as e:
            problem = f"no answer from the receiver: {why_silent(e)}"
        self._note(message, problem)
        return int(problem is None)

    def _note(self, message: Any, problem: str | None) -> None:
        with self._database.begin() as connection:
            if problem is None:
                connection.execute(_DELIVERED, {"id": message.id})
                return
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (message.tries - 1))
            values = {"id": message.id, "problem": problem[:500], "pause_s": pause_s}
            connection.execute(_AGAIN, values)
        _log.warning("webhook_not_delivered", url=message.url, kind=message.kind,
                     tries=message.tries, again_in_s=pause_s, reason=problem)  # fmt: skip


def _refusal(answer: httpx.Response) -> str:
    status = f"(status {answer.status_code})"
    if answer.is_redirect:
        return f"the receiver names another address {status}; give that one in NORMLAB_WEBHOOKS"
    return f"the receiver {'failed' if answer.is_server_error else 'refused it'} {status}"


def signature(secret: bytes, body: bytes, moment: int) -> str:
    """Return `t=SECONDS,v1=HEX`, where HEX is HMAC-SHA256 of `SECONDS.BODY`."""
    signed = hmac.new(secret, b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={signed}"


def trim(database: Database) -> int:
    """Delete messages older than a month; return how many."""
    with database.begin() as connection:
        return int(connection.execute(_TRIM).rowcount)


def waiting(database: Database) -> Waiting:
    """Return how many messages wait to be delivered, and for how long."""
    with database.autocommit() as connection:
        row = connection.execute(_WAITING).one()
    return Waiting(row.n, row.oldest_s)
