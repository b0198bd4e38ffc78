"""The job: fetch a profile. Run by `python -m procrastinate --app … worker`."""

from __future__ import annotations

import httpx
from procrastinate import App, PsycopgConnector

from benchmarks.competitors import store

queue = App(connector=PsycopgConnector(conninfo=store.DATABASE_URL, min_size=1, max_size=10))
_graph: list[httpx.AsyncClient] = []


@queue.task(name="fetch", retry=4)
async def fetch(user: str) -> None:
    """Fetch a profile that is not known or has expired."""
    if not _graph:
        _graph.append(store.graph_client())
    async with store.sessions() as session:
        known = await store.find(session, user)
        if known is None or not known.is_fresh:
            await store.fetch_profile(_graph[0], session, user)
            await session.commit()
