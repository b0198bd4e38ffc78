"""FastAPI, uvicorn, SQLAlchemy and httpx: the profile is fetched before the ack."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse

from benchmarks.competitors import lookups, store


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Create the tables, and open a client for Graph."""
    await store.create_tables()
    async with store.graph_client() as app.state.graph:
        yield
    await store.engine.dispose()


app = FastAPI(lifespan=lifespan)
app.include_router(lookups.router)


@app.post(f"{lookups.PREFIX}/webhook", response_class=PlainTextResponse)
async def receive(request: Request) -> str:
    """Store the senders, fetch unknown and expired ones, then acknowledge."""
    body = await request.body()
    if not store.is_signed(body, request.headers.get("X-Hub-Signature-256", "")):
        raise HTTPException(401)
    async with store.sessions() as session:
        for account, user in store.senders(json.loads(body)):
            await store.note_participant(session, account, user)
            known = await store.find(session, user)
            if known is None or not known.is_fresh:
                await store.fetch_profile(request.app.state.graph, session, user)
        await session.commit()
    return "EVENT_RECEIVED"
