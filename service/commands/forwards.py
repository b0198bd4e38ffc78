"""`forwards list|retry|drop`: deliveries that wait for the forward addresses."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from rich.table import Table

from service.commands.output import DONE, INCOMPLETE, CommandError, cell, console, say, say_json
from service.receiving.forwarding.addresses import address_name
from service.settings import ForwardSettings, secret_values
from service.store.database import Database
from service.store.outbox import Backlog, Outbox
from service.wording import count, duration, printable


class _Listed(msgspec.Struct, rename="camel"):
    """One forward address, as `--json` shows it."""

    address: str
    waiting: int
    bytes: int
    posting: int
    set_aside: int
    oldest_seconds: float
    attempts: int
    last_error: str | None
    is_configured: bool


@asynccontextmanager
async def _outbox(settings: ForwardSettings) -> AsyncIterator[Outbox]:
    async with Database.connect(settings.dsn, pool_size=1) as database:
        yield Outbox(database, settings.forward_max_bytes)


async def list_forwards(settings: ForwardSettings, *, as_json: bool) -> int:
    """Show the backlog of each address; returns 1 if something is set aside."""
    configured = [address_name(url) for url in secret_values(settings.forward_urls)]
    async with _outbox(settings) as outbox:
        backlogs = {address: Backlog(address) for address in configured}
        backlogs |= {backlog.address: backlog for backlog in await outbox.measure()}
        listed = [
            await _listed(outbox, backlog, is_configured=backlog.address in configured)
            for backlog in backlogs.values()
        ]
    if as_json:
        say_json({"forwards": listed})
    elif listed:
        _show(listed)
    else:
        say("Forwarding is off: FORWARD_URLS is empty, and nothing waits.")
    return INCOMPLETE if any(each.set_aside for each in listed) else DONE


async def _listed(outbox: Outbox, backlog: Backlog, *, is_configured: bool) -> _Listed:
    return _Listed(
        backlog.address,
        backlog.waiting,
        backlog.bytes,
        backlog.posting,
        backlog.set_aside,
        round(backlog.oldest_s, 1),
        backlog.most_attempts,
        await outbox.last_error(backlog.address),
        is_configured,
    )


def _show(listed: list[_Listed]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for column in ("address", "waiting", "oldest", "set aside", "last error"):
        table.add_column(column, overflow="fold")
    for each in listed:
        address = printable(each.address) + ("" if each.is_configured else " (not configured)")
        oldest = duration(each.oldest_seconds) if each.waiting else "-"
        cells = (f"{each.waiting:,}", oldest, f"{each.set_aside:,}")
        table.add_row(*map(cell, (address, *cells, printable(each.last_error or "-"))))
    console(sys.stdout).print(table)
    for each in listed:
        if each.waiting and not each.is_configured:
            say(
                f"{printable(each.address)} is not in FORWARD_URLS: add it again, or drop what"
                " waits with `forwards drop ADDRESS`."
            )
    if any(each.set_aside for each in listed):
        say("To try again what is set aside: python -m service forwards retry")


async def retry(settings: ForwardSettings, address: str | None) -> int:
    """Make deliveries due now, including those set aside, for another 36 hours."""
    async with _outbox(settings) as outbox:
        retried = await outbox.retry(address)
    say(f"{count(retried, 'delivery', 'deliveries')} will be posted again now.")
    return DONE


async def drop(
    settings: ForwardSettings, address: str, *, only_set_aside: bool, is_sure: bool
) -> int:
    """Delete deliveries to an address without posting them."""
    if not is_sure:
        raise CommandError(
            "This deletes deliveries that the address has never received. If that is what you"
            " want, repeat the command with --yes."
        )
    async with _outbox(settings) as outbox:
        dropped = await outbox.drop(address, only_set_aside=only_set_aside)
    say(f"{count(dropped, 'delivery', 'deliveries')} to {printable(address)} deleted.")
    return DONE
