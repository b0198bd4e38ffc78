"""Who waits for a fetch is woken by the users waited for, not by everybody's."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from service.model.freshness import CachedIdentity, Rules
from service.queue import TurnQueue
from service.resolving.on_request import RequestedFetches
from service.store.identities import DueUser, Forced, Identities
from tests.strategies import in_jumping_time

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
USER, OTHER = "5550000000000001", "5550000000000002"


class Table:
    """Users that have been forced; counts how often they are read."""

    def __init__(self) -> None:
        self.fetched: set[str] = set()
        self.reads = 0

    async def clear_failures(self, ig_user_id: str) -> None:
        """Nobody has failed."""

    async def force(self, ig_user_ids: Sequence[str], **_: object) -> Forced:
        return Forced(NOW, [DueUser("1", user) for user in ig_user_ids], set(ig_user_ids))

    async def watch(self, ig_user_ids: Sequence[str]) -> list[CachedIdentity]:
        self.reads += 1
        return [
            CachedIdentity(
                user,
                is_participant=True,
                last_fetched_at=NOW if user in self.fetched else None,
                read_at=NOW,
            )
            for user in ig_user_ids
        ]


def waiting(table: Table) -> RequestedFetches:
    return RequestedFetches(cast("Identities", table), TurnQueue(10), Rules())


def test_a_waiting_refresh_reads_nothing_when_other_users_change() -> None:
    async def main() -> None:
        table = Table()
        requested = waiting(table)
        refresh = asyncio.create_task(requested.refresh(USER))
        await asyncio.sleep(0.1)
        for _ in range(100):
            requested.note_change([OTHER])
            await asyncio.sleep(0)
        assert table.reads == 1
        table.fetched.add(USER)
        requested.note_change([OTHER, USER])
        found: Any = await refresh
        assert (found.last_fetched_at, table.reads) == (NOW, 2)
        assert not requested._waiters

    in_jumping_time(main())


def test_a_change_of_anybody_or_of_a_pause_wakes_all() -> None:
    async def main() -> None:
        table = Table()
        requested = waiting(table)
        refreshes = [asyncio.create_task(requested.refresh(user)) for user in (USER, OTHER)]
        await asyncio.sleep(0.1)
        table.fetched |= {USER, OTHER}
        requested.note_change(None)
        await asyncio.gather(*refreshes)
        assert table.reads == 4

    in_jumping_time(main())


def test_without_a_notice_the_tables_are_looked_at_each_second_until_the_time_is_up() -> None:
    async def main() -> None:
        table = Table()
        found: Any = await waiting(table).refresh(USER)
        assert found.last_fetched_at is None
        assert 10 <= table.reads <= 12

    in_jumping_time(main())
