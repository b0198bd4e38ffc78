"""FastAPI, uvicorn and SQLAlchemy: the work is handed to procrastinate, a queue in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse

from benchmarks.competitors import lookups, store
from benchmarks.competitors.queued.tasks import fetch, queue


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open the queue; `prepare` has created the tables."""
    async with queue.open_async():
        yield
    await store.engine.dispose()


app = FastAPI(lifespan=lifespan)
app.include_router(lookups.router)


@app.post(f"{lookups.PREFIX}/webhook", response_class=PlainTextResponse)
async def receive(request: Request) -> str:
    """Store the senders, queue unknown and expired ones, then acknowledge."""
    body = await request.body()
    if not store.is_signed(body, request.headers.get("X-Hub-Signature-256", "")):
        raise HTTPException(401)
    wanted = []
    async with store.sessions() as session:
        for account, user in store.senders(json.loads(body)):
            await store.note_participant(session, account, user)
            known = await store.find(session, user)
            if known is None or not known.is_fresh:
                wanted.append(user)
        await session.commit()
    if wanted:
        await fetch.batch_defer_async(*({"user": user} for user in wanted))
    return "EVENT_RECEIVED"
