"""Whoever locks several participants takes them in one order, so that nobody waits in a circle."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest

from service.model.freshness import Rules
from service.store.claims import Claims
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.outcomes import Claim

from .conftest import LEASE
from .tables import (
    ACCOUNT,
    DENIED,
    HOUR,
    NOT_FOUND,
    OTHER_ACCOUNT,
    PROFILE,
    THIRD_ACCOUNT,
    TIMEOUT,
    Tables,
    user_id,
)
from .test_journal import contact

Key = tuple[str, str]
USERS = [user_id(n) for n in (1, 2, 3)]
KEYS = sorted(itertools.product(USERS, (ACCOUNT, OTHER_ACCOUNT, THIRD_ACCOUNT)))
BACKWARD = KEYS[::-1]
HELD = KEYS[4]
OF_ONE_USER = [key for key in KEYS if key[0] == HELD[0]]
AT = datetime(2026, 11, 22, tzinfo=UTC)
CLAIM = Claim(ACCOUNT, HELD[0], 7, "a sealed token", "facebook")

Work = Callable[[Database], Awaitable[object]]


def journal(database: Database) -> Awaitable[object]:
    contacts = [contact(user, account, AT) for user, account in BACKWARD]
    return Journal(database, Rules()).write(contacts)


def claims_of(database: Database) -> Claims:
    return Claims(database, Rules(), LEASE)


def claim(database: Database) -> Awaitable[object]:
    claims = claims_of(database)
    return asyncio.gather(*(claims.take(account, user) for user, account in BACKWARD))


def held_claims() -> list[Claim]:
    return [Claim(ACCOUNT, user, 7, "a sealed token", "facebook") for user in USERS[::-1]]


def resolve(database: Database) -> Awaitable[object]:
    claims = claims_of(database)
    return asyncio.gather(*(claims.resolve(claim, PROFILE) for claim in held_claims()))


def fail(database: Database) -> Awaitable[object]:
    claims = claims_of(database)
    return asyncio.gather(*(claims.fail(claim, NOT_FOUND) for claim in held_claims()))


def force(database: Database) -> Awaitable[object]:
    return Identities(database, Rules()).force(USERS[::-1], include_fresh=True)


def schedule_stale(database: Database) -> Awaitable[object]:
    return Identities(database, Rules()).schedule_stale(USERS[::-1])


def erase(database: Database) -> Awaitable[object]:
    return Identities(database, Rules()).erase(HELD[0])


def release(database: Database) -> Awaitable[object]:
    return claims_of(database).release(CLAIM)


def fail_upstream(database: Database) -> Awaitable[object]:
    return claims_of(database).fail_upstream(CLAIM, TIMEOUT)


def deny(database: Database) -> Awaitable[object]:
    return claims_of(database).suspect(CLAIM, DENIED)


async def locked(tables: Tables) -> set[Key]:
    free = await tables.session.fetch(
        "SELECT ig_user_id, ig_account_id FROM instagram_participants FOR UPDATE SKIP LOCKED"
    )
    return set(KEYS) - {(row["ig_user_id"], row["ig_account_id"]) for row in free}


@pytest.mark.parametrize(
    ("work", "due", "keys"),
    [
        (journal, "due", KEYS),
        (claim, "due", KEYS),
        (resolve, "leased", KEYS),
        (fail, "leased", KEYS),
        (force, "due", KEYS),
        (schedule_stale, "fresh", KEYS),
        (erase, "due", OF_ONE_USER),
        (release, "leased", OF_ONE_USER),
        (fail_upstream, "leased", OF_ONE_USER),
        (deny, "leased", OF_ONE_USER),
    ],
)
async def test_participants_are_locked_by_user_and_account(
    database: Database,
    tables: Tables,
    other_session: asyncpg.Connection,
    work: Work,
    due: str,
    keys: list[Key],
) -> None:
    columns: dict[str, dict[str, object]] = {
        "due": {},
        "leased": {"due_at": HOUR, "lease": 7},
        "fresh": {"due_at": None},
    }
    await tables.connect(access_token="a sealed token")
    for user, account in BACKWARD:
        await tables.insert(
            "instagram_participants", ig_user_id=user, ig_account_id=account, **columns[due]
        )
    async with other_session.transaction():
        await other_session.execute(
            "SELECT FROM instagram_participants"
            " WHERE ig_user_id = $1 AND ig_account_id = $2 FOR UPDATE",
            *HELD,
        )
        working = asyncio.ensure_future(work(database))
        await tables.until_blocked()
        assert await locked(tables) == {key for key in keys if key <= HELD}
    await working
