"""Stores participants before a webhook is acknowledged."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from service.coalescer import Coalescer
from service.model.contacts import Contact, merge_contacts
from service.model.freshness import Rules
from service.store.database import Database
from service.store.queries import read_queries

DURABLE_WITHIN_S = 2.5
_RECEIVING = read_queries("receiving")


class Journalled(msgspec.Struct, frozen=True):
    """A committed participant.

    `fresh_until` is null while the identity needs a fetch. `is_scheduled`: a first fetch is
    already in the tables. `is_due`: the fetch can be made now.
    """

    ig_account_id: str
    ig_user_id: str
    last_message_at: datetime
    fresh_until: datetime | None
    is_scheduled: bool
    is_due: bool


class Journal:
    """Writes contacts; concurrent deliveries share a statement and a commit."""

    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._rules = rules
        self._writes = Coalescer(self._write, patience_s=DURABLE_WITHIN_S)

    async def write(self, contacts: Sequence[Contact]) -> list[Journalled]:
        """Commit contacts and return their state; raises UnavailableError within 2.5 seconds."""
        return await self._writes.submit_all(contacts)

    async def _write(self, contacts: Sequence[Contact]) -> list[Journalled]:
        rows = merge_contacts(contacts)  # a statement cannot update a row twice
        written = await self._database.fetch(
            _RECEIVING["journal"],
            [row.ig_account_id for row in rows],
            [row.ig_user_id for row in rows],
            [row.first_at for row in rows],
            [row.last_at for row in rows],
            [row.wrote for row in rows],
            self._rules.ttl,
            self._rules.max_failures,
            self._rules.retry_waits,
        )
        by_key = {(row["ig_account_id"], row["ig_user_id"]): _journalled(*row) for row in written}
        return [by_key[contact.key] for contact in contacts]


def _journalled(ig_account_id: str, *rest: Any) -> Journalled:  # noqa: ANN401 - a row's columns
    """Convert a row, whose columns have the order of the fields; interns the account id."""
    return Journalled(sys.intern(ig_account_id), *rest)
