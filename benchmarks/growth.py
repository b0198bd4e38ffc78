"""The cost of one item as the tables grow: the lines should be flat."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

import asyncpg

from benchmarks import payloads
from benchmarks.findings import Findings, Scale
from benchmarks.world import World
from service.model.calls import Profile
from service.model.contacts import Contact
from service.model.freshness import Rules
from service.store.claims import Claims
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.migration import migrate
from service.store.outcomes import Claim
from service.vault import Vault

_BATCH = 50
_REPEATS = 25
_TINY_REPEATS = 2
_LEASE = timedelta(seconds=30)
_USERS_PER_ACCOUNT_TEST = 100_000
_FIRST_ACCOUNT, _FIRST_USER = 17841500000000000, 6 * 10**15
_PROFILE = Profile("jane.doe", "Jane Doe", "https://example.com/a.jpg", '{"name": "Jane Doe"}')
_FILL_USERS = """
INSERT INTO instagram_user_cache
    (ig_user_id, username, name, profile_pic_url, last_fetched_at, expires_at, raw)
SELECT ($1::bigint + n)::text, 'user.' || n, 'Name ' || n,
    'https://scontent.cdninstagram.com/v/t51.2885-19/' || n || '_n.jpg?oe=6A5C0E80',
    now(), now() + interval '7 days', jsonb_build_object('username', 'user.' || n)
FROM generate_series($2::bigint, $3::bigint - 1) n
"""
_FILL_PARTICIPANTS = """
INSERT INTO instagram_participants (ig_account_id, ig_user_id, due_at, last_message_at)
SELECT ($1::bigint + n % $5)::text, ($2::bigint + n)::text, NULL,
    now() - n % 2592000 * interval '1 second'
FROM generate_series($3::bigint, $4::bigint - 1) n
"""
_FILL_CONNECTIONS = """
INSERT INTO instagram_connections (ig_account_id, location_id, access_token)
SELECT ($1::bigint + n)::text, 'bench', 'token' FROM generate_series(0, $2::bigint - 1) n
"""


async def run(world: World, scale: Scale) -> Findings:
    """Measure how costs grow with users and with accounts."""
    found = Findings()
    repeats = _TINY_REPEATS if scale.is_tiny else _REPEATS
    users = await _compare(world, {str(size): (size, 1) for size in scale.growth}, repeats)
    size = min(max(scale.growth), _USERS_PER_ACCOUNT_TEST)
    accounts = await _compare(
        world, {str(count): (size, count) for count in scale.accounts}, repeats
    )
    found.raw = {"users": users, "accounts": accounts}
    _tell(found, "users", users)
    _tell(found, "accounts", accounts)
    return found


async def _compare(
    world: World, sizes: Mapping[str, tuple[int, int]], repeats: int
) -> dict[str, dict[str, float]]:
    """Return the median cost of an item in µs, by size and operation; sizes alternate by batch."""
    took: dict[str, dict[str, list[float]]] = {name: {} for name in sizes}
    async with AsyncExitStack() as stack:
        tables = {}
        for name, (users, accounts) in sizes.items():
            tables[name] = await stack.enter_async_context(_tables(world))
            await tables[name].fill(users, accounts)
        for _ in range(repeats):
            for name, each in tables.items():
                for operation, cost in (await each.measure()).items():
                    took[name].setdefault(operation, []).append(cost)
    return {
        name: {operation: median(costs) for operation, costs in each.items()}
        for name, each in took.items()
    }


def _tell(found: Findings, what: str, costs: dict[str, dict[str, float]]) -> None:
    first, last = next(iter(costs)), list(costs)[-1]
    for operation, cost in costs[last].items():
        times = cost / costs[first][operation]
        found.add(f"{operation}: cost an item with {last} {what} over {first}", times, "×")


@dataclass(frozen=True)
class _Tables:
    dsn: str
    database: Database
    rules: Rules
    made: dict[str, int]

    async def fill(self, users: int, accounts: int) -> None:
        """Connect accounts, and add users with a participant and a fresh identity each."""
        await self._execute(_FILL_CONNECTIONS, _FIRST_ACCOUNT, accounts)
        await self._execute(_FILL_USERS, _FIRST_USER, 0, users)
        await self._execute(_FILL_PARTICIPANTS, _FIRST_ACCOUNT, _FIRST_USER, 0, users, accounts)
        await self._execute("VACUUM ANALYZE")
        self.made.update(users=users, accounts=accounts)

    async def measure(self) -> dict[str, float]:
        """Return the cost of an item in µs, by operation, in one batch of 50."""
        identities = Identities(self.database, self.rules)
        claims = Claims(self.database, self.rules, _LEASE)
        known = [str(_FIRST_USER + self._any("users")) for _ in range(_BATCH)]
        contacts = [self._contact(user) for user in payloads.new_users(_BATCH)]
        took: dict[str, float] = {}

        async def timed(operation: str, work: Callable[[], Awaitable[object]]) -> object:
            began_s = time.perf_counter()
            result = await work()
            took[operation] = (time.perf_counter() - began_s) / _BATCH * 1e6
            return result

        await timed("journal", lambda: Journal(self.database, self.rules).write(contacts))
        await timed("look up", lambda: identities.look_up(known))
        await timed("find due", lambda: identities.find_due(_BATCH, _BATCH, timedelta(0)))
        taken = await timed(
            "claim", lambda: asyncio.gather(*(claims.take(*contact.key) for contact in contacts))
        )
        held = [claim for claim in taken if isinstance(claim, Claim)]  # type: ignore[attr-defined]
        if len(held) != _BATCH:
            raise RuntimeError(f"{len(held)} of {_BATCH} users were claimed")
        await timed(
            "settle",
            lambda: asyncio.gather(*(claims.resolve(claim, _PROFILE) for claim in held)),
        )
        return took

    def _contact(self, user: str) -> Contact:
        now = datetime.now(UTC)
        account = str(_FIRST_ACCOUNT + self._any("accounts"))
        return Contact(account, user, now, now, wrote=True)

    def _any(self, what: str) -> int:
        return random.randrange(self.made[what])  # noqa: S311 - not a secret

    async def _execute(self, statement: str, *arguments: object) -> None:
        """Run a statement without triggers, which would send a million notices."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()


@asynccontextmanager
async def _tables(world: World) -> AsyncIterator[_Tables]:
    dsn = await world.new_database()
    await migrate(dsn, Vault((world.keys.encryption,)))
    async with Database.connect(dsn) as database:
        yield _Tables(dsn, database, Rules(), {})
