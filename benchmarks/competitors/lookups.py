"""The competitors' lookups: one query per request."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException
from pydantic import BaseModel

from benchmarks.competitors.store import INBOX_KEY, User, find, find_all, sessions

PREFIX = "/api/social/instagram"

router = APIRouter(prefix=PREFIX)


class Identity(BaseModel):
    """A user as shown in the Inbox."""

    igUserId: str  # noqa: N815 - the contract's names
    displayName: str  # noqa: N815
    username: str | None
    name: str | None
    profilePicUrl: str | None  # noqa: N815
    state: str
    stale: bool
    lastFetchedAt: datetime | None  # noqa: N815
    failCount: int  # noqa: N815
    lastFailedAt: datetime | None  # noqa: N815
    reason: str | None


class Identities(BaseModel):
    """Several users."""

    users: list[Identity]


@router.get("/users/{ig_user_id}")
async def one(ig_user_id: str, authorization: Annotated[str, Header()]) -> Identity:
    """Answer with one identity."""
    _check(authorization)
    async with sessions() as session:
        return _identity(ig_user_id, await find(session, ig_user_id))


@router.get("/users")
async def many(ids: str, authorization: Annotated[str, Header()]) -> Identities:
    """Answer with several identities, in the requested order."""
    _check(authorization)
    asked = ids.split(",")
    async with sessions() as session:
        found = await find_all(session, asked)
    return Identities(users=[_identity(user, found.get(user)) for user in asked])


def _check(authorization: str) -> None:
    if not hmac.compare_digest(authorization, f"Bearer {INBOX_KEY}"):
        raise HTTPException(401)


def _identity(ig_user_id: str, user: User | None) -> Identity:
    shown = f"@{user.username}" if user and user.username else f"@user_{ig_user_id[-6:]}"
    return Identity(
        igUserId=ig_user_id,
        displayName=shown,
        username=user.username if user else None,
        name=user.name if user else None,
        profilePicUrl=user.profile_pic_url if user else None,
        state="resolved" if user and user.fetched_at else "unknown",
        stale=bool(user and not user.is_fresh),
        lastFetchedAt=user.fetched_at if user else None,
        failCount=0,
        lastFailedAt=None,
        reason=None,
    )
