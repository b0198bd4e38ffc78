"""Creates the tables, including the queue's."""

from __future__ import annotations

import asyncio

from benchmarks.competitors import store
from benchmarks.competitors.queued.tasks import queue


async def main() -> None:
    """Create the tables."""
    await store.create_tables()
    await store.engine.dispose()
    async with queue.open_async():
        await queue.schema_manager.apply_schema_async()


if __name__ == "__main__":
    asyncio.run(main())
