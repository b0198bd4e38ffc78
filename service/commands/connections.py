"""`connections list|add|remove`: over HTTP, so that every replica is notified at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from http import HTTPStatus

import click
import msgspec
from rich.table import Table

from service.commands.api import ApiError, ConnectionLine, OperatorApi
from service.commands.output import CommandError, cell, console, say, say_json
from service.model.contacts import ig_id
from service.reasons import reason_of
from service.settings import ClientSettings
from service.wording import printable, shell_word

LONGEST_TOKEN = 4096
INVALID = "invalid"
TABLE_COLUMNS = 100  # in a narrower terminal the table's cells would be unreadable


class NewConnection(msgspec.Struct, frozen=True):
    """The input of `connections add`; None keeps the stored value."""

    ig_account_id: str
    location_id: str
    login: str | None
    alias_ids: tuple[str, ...] | None


async def list_connections(settings: ClientSettings, url: str | None, *, as_json: bool) -> None:
    """Show the connections, never a token."""
    async with OperatorApi.open(settings, url) as api:
        listed, raw = await api.connections()
    if as_json:
        say_json(raw)
    elif listed.connections:
        _show(listed.connections)
    else:
        say("There are no connections yet: `connections add ACCOUNT --location LOCATION`.")


async def add(settings: ClientSettings, url: str | None, wanted: NewConnection, token: str) -> None:
    """Create or replace a connection; keeps aliases and login if they are not given."""
    async with OperatorApi.open(settings, url) as api:
        listed, _ = await api.connections()
        account = wanted.ig_account_id
        before = next((c for c in listed.connections if c.ig_account_id == account), None)
        stored = await api.put_connection(account, _body(wanted, before, token))
    verb = "is connected again" if before else "is connected"
    say(f"Account {account} {verb}: {_describe(stored)}.", "green")
    if before is not None and before.location_id != stored.location_id:
        say(f"It has moved here from the location {printable(before.location_id)}.")
    say(f"To check it: python -m service doctor --location {shell_word(stored.location_id)}")


def remove(settings: ClientSettings, url: str | None, account: str, *, is_sure: bool) -> None:
    """Remove a connection after a prompt, during which no event loop runs, so that Ctrl-C works."""
    found = asyncio.run(_find(settings, url, account))
    if not is_sure:
        _confirm(found)
    asyncio.run(_delete(settings, url, account))
    say(f"Account {account} is no longer connected. The names of its users stay.")


async def _find(settings: ClientSettings, url: str | None, account: str) -> ConnectionLine:
    async with OperatorApi.open(settings, url) as api:
        listed, _ = await api.connections()
    found = next((c for c in listed.connections if c.ig_account_id == account), None)
    if found is None:
        raise CommandError(_no_such(account))
    return found


async def _delete(settings: ClientSettings, url: str | None, account: str) -> None:
    async with OperatorApi.open(settings, url) as api:
        try:
            await api.delete_connection(account)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise CommandError(_no_such(account)) from None
            raise


def read_token() -> str:
    """Read an access token from a hidden prompt, or from stdin if it is not a terminal."""
    if sys.stdin.isatty():
        token = str(click.prompt("Access token (not shown)", hide_input=True, err=True))
    else:
        token = sys.stdin.read(LONGEST_TOKEN + 2)
    token = token.strip()
    if not token:
        raise CommandError("No access token was given: type it at the prompt, or send it to stdin.")
    is_token = token.isascii() and token.isprintable() and not any(map(str.isspace, token))
    if not is_token or len(token) > LONGEST_TOKEN:
        raise CommandError("What was given is not an access token: it is one line without spaces.")
    return token


def checked_ids(ids: Sequence[str]) -> tuple[str, ...]:
    """Check ids from the command line: 1 to 32 digits each."""
    for each in ids:
        if ig_id(each) is None:
            raise CommandError(f"{printable(each)!r} is not an id: ids are 1 to 32 digits.")
    return tuple(ids)


def _body(wanted: NewConnection, before: ConnectionLine | None, token: str) -> dict[str, object]:
    aliases, login = wanted.alias_ids, wanted.login
    if before is not None:
        aliases = tuple(before.alias_ids) if aliases is None else aliases
        login = login or before.login
    return {
        "locationId": wanted.location_id,
        "accessToken": token,
        "login": login or "facebook",
        "aliasIds": list(aliases or ()),
    }


def _describe(connection: ConnectionLine) -> str:
    aliases = ", ".join(connection.alias_ids)
    also = f", also known as {aliases}" if aliases else ""
    return f"location {printable(connection.location_id)}, {connection.login} login{also}"


def _confirm(found: ConnectionLine) -> None:
    question = (
        f"Remove the account {found.ig_account_id} ({_describe(found)})? Its token is deleted and "
        "its users are no longer fetched; names that are known stay."
    )
    click.confirm(question, abort=True, err=True)


def _no_such(account: str) -> str:
    return f"There is no connection {account}: `connections list` shows them all."


def _show(connections: Sequence[ConnectionLine]) -> None:
    """Show a table, or a few lines for each account if the table is too wide."""
    out = console(sys.stdout)
    if out.width < TABLE_COLUMNS:
        for each in connections:
            _show_in_lines(each)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for column in ("account", "location", "login", "token", "paused until", "why", "also known as"):
        table.add_column(column, overflow="fold")
    for each in connections:
        token = cell(_token(each), "red" if each.token_status == INVALID else "")
        cells = (*_pause(each), ", ".join(each.alias_ids) or "-")
        head = (_name(each), printable(each.location_id), each.login)
        table.add_row(*map(cell, head), token, *map(cell, cells))
    with out.capture() as rendered:
        out.print(table)
    for line in rendered.get().splitlines():
        out.out(line.rstrip(), highlight=False)


def _show_in_lines(each: ConnectionLine) -> None:
    is_bad = each.token_status == INVALID or each.pause_reason is not None
    say(_name(each), "bold red" if is_bad else "bold")
    say(f"  {printable(each.location_id)}, {each.login} login, token {_token(each)}")
    if each.alias_ids:
        say(f"  also known as {', '.join(each.alias_ids)}")
    if each.pause_reason is not None:
        until, why = _pause(each)
        say(f"  paused until {until}", "red")
        say(f"  {why}", "red")


def _token(connection: ConnectionLine) -> str:
    plain = ", plain" if connection.is_plain else ""
    return f"{connection.token_status}{plain}"


def _name(connection: ConnectionLine) -> str:
    named = f"@{printable(connection.username)} " if connection.username else ""
    return f"{named}{connection.ig_account_id}"


def _pause(connection: ConnectionLine) -> tuple[str, str]:
    if connection.pause_reason is None:
        return "-", "-"
    until = connection.paused_until or ""
    is_endless = not until or until.startswith("99")  # the year
    reason = connection.pause_reason
    cure = "it is connected" if reason == "no_connection" else "a new token"
    return cure if is_endless else until, f"{reason}: {reason_of(reason).words}"
