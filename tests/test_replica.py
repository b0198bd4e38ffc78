"""What a notice costs: the tables that it speaks of are read again, once for many notices."""

import asyncio
from typing import Any, cast
from unittest.mock import MagicMock

from service.graph.budget import PauseBoard
from service.identities.memory import LookupMemory
from service.queue import TurnQueue
from service.receiving.intake.known import Known
from service.replica import Replica
from service.store.pauses import Pause
from tests.strategies import in_jumping_time


class Tables:
    """Counts how often the connections and the pauses are read."""

    def __init__(self) -> None:
        self.directory_reads = 0
        self.pause_reads = 0

    async def read_directory(self) -> dict[str, str]:
        self.directory_reads += 1
        return {"1": "1"}

    async def take_over(self) -> None:
        """Nothing is to be taken over."""

    async def read(self) -> list[Pause]:
        self.pause_reads += 1
        return []


def replica_of(tables: Tables) -> Replica:
    known = Known()
    known.is_trusted = True
    return Replica(
        cast("Any", tables),
        cast("Any", tables),
        PauseBoard(),
        known,
        LookupMemory(),
        TurnQueue(10),
        MagicMock(),
        MagicMock(),
        on_change=lambda _: None,
        on_due=lambda: None,
    )


def test_a_notice_has_only_what_it_speaks_of_read_and_many_have_it_read_once() -> None:
    async def main() -> None:
        tables = Tables()
        replica = replica_of(tables)
        notices, running = replica.notices(), asyncio.create_task(replica.run())
        await asyncio.sleep(0.01)
        for _ in range(1000):
            notices["instagram_pauses"]("")
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        assert tables.directory_reads == 0
        assert 1 <= tables.pause_reads < 100
        notices["instagram_connections"]("")
        await asyncio.sleep(1)
        assert tables.directory_reads == 1
        await asyncio.sleep(60)  # from time to time without a notice
        assert tables.directory_reads > 1
        running.cancel()

    in_jumping_time(main())
