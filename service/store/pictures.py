"""Copies of profile pictures: one per user, written only if its bytes have changed."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from service.store.database import Database
from service.store.queries import read_queries

Kept = Literal["copied", "unchanged", "outdated"]
_SQL = read_queries("pictures")


class StoredPicture(msgspec.Struct, frozen=True):
    """A stored copy."""

    sha256: str
    content_type: str
    body: bytes


class StoredPictures:
    """Stores and reads copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, ig_user_id: str, url: str, content_type: str, body: bytes) -> Kept:
        """Store a fetched picture; "outdated" if the identity now has another address."""
        sha256 = hashlib.sha256(body).hexdigest()
        if await self._database.fetch(_SQL["touch"], ig_user_id, url, sha256):
            return "unchanged"
        kept = await self._database.fetch(_SQL["keep"], ig_user_id, url, sha256, content_type, body)
        return "copied" if kept else "outdated"

    async def read(self, ig_user_id: str) -> StoredPicture | None:
        """Read a user's copy, if there is one."""
        rows = await self._database.fetch(_SQL["read"], ig_user_id)
        return StoredPicture(*rows[0]) if rows else None
