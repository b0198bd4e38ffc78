"""The rate-limit slots that PostgreSQL granted: how many, and that they are an interval apart.

When the calls arrive depends on the machine; which slots they were given does not.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

_NOTE_SLOTS = """
CREATE TABLE slots (n serial, next_at timestamptz, given_at timestamptz);
CREATE FUNCTION note_slot() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO slots (next_at, given_at) VALUES (NEW.next_at, now());
    RETURN NULL;
END $$;
CREATE TRIGGER note_slot AFTER INSERT OR UPDATE OF next_at ON instagram_budget
    FOR EACH ROW EXECUTE FUNCTION note_slot();
"""
_A_ROUNDING = timedelta(microseconds=10)


class Grant(NamedTuple):
    """What one statement gave: the times from `start` to `end`, of the server's clock."""

    start: datetime
    end: datetime


async def note_slots(db: asyncpg.Connection) -> None:
    """Write down every slot from now on."""
    await db.execute(_NOTE_SLOTS)


async def granted(db: asyncpg.Connection) -> list[Grant]:
    """Read what was granted, in order; fails if two grants overlap."""
    grants: list[Grant] = []
    for row in await db.fetch("SELECT next_at, given_at FROM slots ORDER BY n"):
        start = max(row["given_at"], grants[-1].end) if grants else row["given_at"]
        assert row["next_at"] > start, "a slot was granted twice"
        grants.append(Grant(start, row["next_at"]))
    return grants


async def most_calls_allowed(db: asyncpg.Connection, per_second: float) -> int:
    """Count the slots, each of which allows one call."""
    interval = timedelta(seconds=1 / per_second)
    return sum((g.end - g.start + _A_ROUNDING) // interval for g in await granted(db))
