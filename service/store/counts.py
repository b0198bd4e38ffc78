"""Counts resolved, pending and failed users: exact for small tables, else estimated."""

from __future__ import annotations

from service.model.freshness import Rules
from service.store.database import Database
from service.store.queries import read_queries

MOST_CACHE_PAGES, MOST_PARTICIPANT_PAGES = 2000, 250  # of 8 kB: some 25,000 rows each

_SQL = read_queries("counting")


class Counts:
    """Counts users by state in bounded time.

    Reads whole tables up to these page counts, and beyond them that many random pages.
    """

    def __init__(
        self,
        database: Database,
        rules: Rules,
        most_cache_pages: int = MOST_CACHE_PAGES,
        most_participant_pages: int = MOST_PARTICIPANT_PAGES,
    ) -> None:
        self._database = database
        self._max_failures = rules.max_failures
        self._most_pages = (most_cache_pages, most_participant_pages)

    async def read(self) -> dict[str, int]:
        """Count users by state; raises UnavailableError within 2 seconds."""
        rows = await self._database.fetch(
            _SQL["count_users"], self._max_failures, *self._most_pages
        )
        return dict(rows[0])
