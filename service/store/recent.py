"""Reads the figures of the verdict, with bounded statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import asyncpg
import msgspec

from service.judgement.figures import (
    MOST_HELD,
    NO_REASON,
    AccountWriters,
    Figures,
    PauseFigure,
    Writers,
)
from service.model.identity import has_name
from service.store.database import SLOW_STATEMENT_S, Database
from service.store.queries import read_queries

MOST_WRITERS = 1000
MOST_PAUSES = 50
LATE_S = 60.0

_SQL = read_queries("recent")


class Recent:
    """Reads the figures of the last hour, for one location or for all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, location_id: str | None = None) -> Figures:
        """Read the figures; raises UnavailableError."""
        writers = await self._fetch("writers", location_id, MOST_WRITERS)
        pauses = await self._fetch("pauses", location_id, MOST_PAUSES, MOST_HELD)
        connected = await self._fetch("connected", location_id)
        return Figures(
            everybody=_sum_up(_once_each(writers)),
            accounts=_by_account(writers),
            pauses=[PauseFigure(**row) for row in pauses],
            connected=connected[0]["connected"],
        )

    async def _fetch(self, name: str, *args: object) -> list[asyncpg.Record]:
        return await self._database.fetch(_SQL[name], *args, timeout_s=SLOW_STATEMENT_S)


def _once_each(rows: Iterable[asyncpg.Record]) -> list[asyncpg.Record]:
    """Keep the latest row of each user."""
    found: dict[str, asyncpg.Record] = {}
    for row in rows:
        found.setdefault(row["ig_user_id"], row)
    return list(found.values())


def _by_account(rows: Iterable[asyncpg.Record]) -> list[AccountWriters]:
    accounts: dict[str, list[asyncpg.Record]] = {}
    for row in rows:
        accounts.setdefault(row["ig_account_id"], []).append(row)
    return [
        AccountWriters(
            **msgspec.structs.asdict(_sum_up(of_account)),
            ig_account_id=ig_account_id,
            username=of_account[0]["account_username"],
            location_id=of_account[0]["location_id"],
        )
        for ig_account_id, of_account in accounts.items()
    ]


def _sum_up(rows: Sequence[asyncpg.Record]) -> Writers:
    nameless: Counter[str] = Counter()
    codes: dict[str, str] = {}
    named = waiting = late = 0
    for row in rows:
        reason = _why_nameless(row)
        if has_name(row["username"], row["name"]):
            named += 1
        elif reason is not None:
            nameless[reason] += 1
            if reason == row["reason"] and row["code"]:
                codes.setdefault(reason, "/".join(filter(None, (row["code"], row["subcode"]))))
        else:
            waiting += 1
            late += row["age_s"] > LATE_S
    return Writers(len(rows), named, waiting, late, dict(nameless), codes)


def _why_nameless(row: asyncpg.Record) -> str | None:
    """Return why a user has no name; None if Meta has not been asked yet."""
    if row["blocked_by"] is not None:
        return str(row["blocked_by"])
    return (row["reason"] or NO_REASON) if row["fail_count"] else None
