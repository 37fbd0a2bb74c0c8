"""`normlab token`: manage tokens on the host of the stack, or over HTTP as an admin."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Iterator, List, Optional, Union

import typer

from normlab.cli.completion import one_of
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, ago, examples, print_json, print_rows, print_told, short_ids
from normlab.errors import FieldProblem, InvalidSpec
from normlab.stacks.addresses import Address, data_dir_of

if TYPE_CHECKING:
    from normlab.cli.host_tokens import HostTokens
    from normlab.client.tokens import Tokens
    from normlab.records.access import TokenIssued

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d{1,6})([smhd])")
_COLUMNS = ["token", "owner", "allows", "state", "made", "last used", "ends", "note"]
_SPARE = ["note", "made", "last used"]
TokenArgument = typer.Argument(..., help="A token's id, or the beginning or end of it.")


commands = typer.Typer(
    name="token",
    no_args_is_help=True,
    help="Create, list, rotate and revoke tokens. Without --url: in the stack on this host.",
)


@commands.command(
    epilog=examples(
        "normlab token create ada --scope submit --note laptop",
        "normlab token create ci --scope read --expires 90d",
        "normlab --url U --token ADMINS token create bob --expires 2030-01-31",
    )
)
def create(
    ctx: typer.Context,
    owner: str = typer.Argument(..., help="The owner whose jobs it may change."),
    scope: List[str] = typer.Option(
        ["read"],
        help="read, submit (includes read) or admin (includes all).",
        autocompletion=one_of("read", "submit", "admin"),
    ),
    expires: Optional[str] = typer.Option(
        None, help="When it expires: in 90d, 12h, 30m, or on 2030-01-31; default: never."
    ),
    note: str = typer.Option("", help="The purpose of the token."),
    as_json: bool = AsJson,
) -> None:
    """Create a token and print it once; only a hash of it is stored."""
    ends = None if expires is None else _moment(expires)
    with _tokens(ctx) as tokens:
        issued = tokens.create(owner, scope, expires_at=ends, note=note)
    _show(issued, as_json=as_json)


@commands.command("list", epilog=examples("normlab token list", "normlab token list --owner ada"))
def list_tokens(
    ctx: typer.Context,
    owner: Optional[str] = typer.Option(None, help="Only the tokens of this owner."),
    as_json: bool = AsJson,
) -> None:
    """List tokens, newest first; never their secrets."""
    from normlab.records.access import TokenRecord

    with _tokens(ctx) as tokens:
        found = list(tokens.list(owner))
    rows = [
        [
            *(short, t.owner, ",".join(t.scopes), t.state, ago(t.created_at)),
            t.last_used_at and ago(t.last_used_at),
            t.expires_at and f"{t.expires_at:%Y-%m-%d %H:%M}",
            t.note,
        ]
        for short, t in zip(short_ids([t.id for t in found]), found)
    ]
    whose = "there is no token" if owner is None else f"there is no token of {owner}"
    none = f"{whose}; create one: normlab token create {owner or 'OWNER'}"
    print_rows(found, as_json, _COLUMNS, rows, _SPARE, TokenRecord, none)


@commands.command(epilog=examples("normlab token revoke 5f0c9a41"))
def revoke(ctx: typer.Context, token: str = TokenArgument, as_json: bool = AsJson) -> None:
    """Revoke a token immediately, with its streams and logins."""
    with _tokens(ctx) as tokens:
        record = tokens.revoke(_whole(tokens, token))
    print_told(record, as_json, f"{record.id}  revoked")


@commands.command(
    epilog=examples("normlab token rotate 5f0c9a41", "normlab token rotate 5f0c9a41 --grace 0s")
)
def rotate(
    ctx: typer.Context,
    token: str = TokenArgument,
    grace: str = typer.Option("1h", help="How long the old secret stays valid: 1h, 0s, 2d."),
    as_json: bool = AsJson,
) -> None:
    """Replace a token by a new one, and print when the old one ends."""
    with _tokens(ctx) as tokens:
        issued = tokens.rotate(_whole(tokens, token), _seconds("--grace", grace))
    _show(issued, as_json=as_json)


@contextmanager
def _tokens(ctx: typer.Context) -> Iterator[Union[Tokens, HostTokens]]:
    from normlab.cli.host_tokens import HostTokens

    address: Address = ctx.find_root().obj
    if address.url is None:
        yield HostTokens(data_dir_of(address))
        return
    with connect(ctx) as client:
        yield client.tokens


def _whole(tokens: Union[Tokens, HostTokens], text: str) -> str:
    from normlab.client.references import Place, References

    return References("token", Place(lambda part: (t.id for t in tokens.list()))).full(text)


def _show(issued: TokenIssued, *, as_json: bool) -> None:
    if as_json:
        print_json(issued)
        return
    # only the secret goes to stdout, so that it can be assigned to a variable
    ends = f"until {issued.expires_at:%Y-%m-%d %H:%M %Z}" if issued.expires_at else "until revoked"
    told = f"token {issued.id} of {issued.owner} ({', '.join(issued.scopes)}), {ends}; "
    print(f"{told}shown this once:", file=sys.stderr, flush=True)
    print(issued.secret)
    if issued.predecessor_ends_at is not None:
        print(f"the old one ends at {issued.predecessor_ends_at:%Y-%m-%d %H:%M:%S %Z}",
              file=sys.stderr)  # fmt: skip


def _moment(text: str) -> datetime:
    if _SPAN.fullmatch(text):
        return datetime.now(timezone.utc) + timedelta(seconds=_seconds("--expires", text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _refused("--expires", text, "such as 90d, 12h, 2030-01-31 or a time") from None
    return moment if moment.tzinfo else moment.astimezone()


def _seconds(option: str, text: str) -> float:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise _refused(option, text, "such as 30s, 15m, 12h or 90d")
    return float(int(found.group(1)) * _UNITS_S[found.group(2)])


def _refused(option: str, text: str, rule: str) -> InvalidSpec:
    return InvalidSpec.of(
        [FieldProblem(option, f"{text!r} is not a span of time; give one {rule}")]
    )
