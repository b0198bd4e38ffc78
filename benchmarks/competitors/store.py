"""The tables of the competitors, and fetching of profiles: SQLAlchemy and httpx."""

from __future__ import annotations

import hashlib
import hmac
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import DateTime, String, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

APP_SECRET = os.environ["APP_SECRET"]
INBOX_KEY = os.environ["INBOX_KEY"]
DATABASE_URL = os.environ["DATABASE_URL"]
TTL = timedelta(days=7)

engine = create_async_engine(
    DATABASE_URL.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The base class of the models."""


class User(Base):
    """A user."""

    __tablename__ = "users"

    ig_user_id: Mapped[str] = mapped_column(String, primary_key=True)
    username: Mapped[str | None]
    name: Mapped[str | None]
    profile_pic_url: Mapped[str | None]
    fetched_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    @property
    def is_fresh(self) -> bool:
        """Return whether the profile was fetched within the TTL."""
        return self.fetched_at is not None and datetime.now(UTC) - self.fetched_at < TTL


class Participant(Base):
    """A user who has written to an account."""

    __tablename__ = "participants"

    ig_account_id: Mapped[str] = mapped_column(String, primary_key=True)
    ig_user_id: Mapped[str] = mapped_column(String, primary_key=True)
    last_message_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


def is_signed(body: bytes, signature: str) -> bool:
    """Check the signature of a delivery."""
    expected = "sha256=" + hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)


def senders(delivery: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the account and the user of each message."""
    return [
        (entry["id"], item["sender"]["id"])
        for entry in delivery.get("entry", [])
        for item in entry.get("messaging", [])
    ]


async def note_participant(session: AsyncSession, account: str, user: str) -> None:
    """Store that the user has written."""
    row = {"ig_account_id": account, "ig_user_id": user, "last_message_at": datetime.now(UTC)}
    statement = insert(Participant).values(row)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["ig_account_id", "ig_user_id"],
            set_={"last_message_at": statement.excluded.last_message_at},
        )
    )


async def find(session: AsyncSession, user: str) -> User | None:
    """Read a user."""
    found: User | None = await session.get(User, user)
    return found


async def find_all(session: AsyncSession, users: list[str]) -> dict[str, User]:
    """Read several users."""
    rows = await session.scalars(select(User).where(User.ig_user_id.in_(users)))
    return {row.ig_user_id: row for row in rows}


async def fetch_profile(graph: httpx.AsyncClient, session: AsyncSession, user: str) -> None:
    """Fetch a profile from Graph and store it."""
    token = os.environ["ACCESS_TOKEN"]
    proof = hmac.new(APP_SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()
    answer = await graph.get(
        f"/v18.0/{user}",
        params={"fields": "name,username,profile_pic", "appsecret_proof": proof},
        headers={"Authorization": f"Bearer {token}"},
    )
    answer.raise_for_status()
    profile = answer.json()
    statement = insert(User).values(
        ig_user_id=user,
        username=profile.get("username"),
        name=profile.get("name"),
        profile_pic_url=profile.get("profile_pic"),
        fetched_at=datetime.now(UTC),
    )
    changed = ("username", "name", "profile_pic_url", "fetched_at")
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["ig_user_id"],
            set_={column: statement.excluded[column] for column in changed},
        )
    )


def graph_client() -> httpx.AsyncClient:
    """Open the client for Graph."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    return httpx.AsyncClient(base_url=os.environ["GRAPH_URL"], timeout=2, limits=limits)


async def create_tables() -> None:
    """Create the tables."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
