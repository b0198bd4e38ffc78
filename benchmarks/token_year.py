"""`python -m benchmarks.token_year`: a year of 50 accounts' tokens in simulated time.

PostgreSQL, the Graph simulator and the service's checks are real; only the clock is simulated. Of
the 25 Instagram accounts, two have plain tokens that are not renewed, and one owner changes the
password. Of the 25 Facebook accounts, one token expires, and one owner never logs in again, so the
app's access to the data ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg

from sandbox.postgres.server import EmbeddedPostgres
from service.judgement.token_rules import TokenWarning
from service.store.database import Database
from service.store.migration import migrate
from service.vault import Vault
from tests.accounts.world import KEY, START, TokenWorld, token_world
from tests.system.chaos.rig import scratch_folder

DAY, TICK = timedelta(days=1), timedelta(hours=3)
DAYS = 365
INSTAGRAM = [f"1784140000000{number:04}" for number in range(25)]
FACEBOOK = [f"1784150000000{number:04}" for number in range(25)]
PLAIN, PASSWORD_CHANGED = INSTAGRAM[:2], INSTAGRAM[2]
ENDING, ACCESS_ENDING = FACEBOOK[0], FACEBOOK[1]
PASSWORD_CHANGES_ON = 200


class Year:
    """The warnings and dead tokens of each day."""

    def __init__(self, world: TokenWorld) -> None:
        self.world = world
        self.first_warned: dict[tuple[str, str], datetime] = {}
        self.ends: dict[tuple[str, str], datetime] = {}
        self.dead: dict[str, datetime] = {}
        self.checks = 0

    async def connect(self) -> None:
        """Connect the accounts, whose tokens were created at the same time."""
        graph, world = self.world.graph, self.world
        for account in INSTAGRAM:
            ends_at_s = (START + 60 * DAY).timestamp()
            token = f"IGAA-first-token-of-{account}"
            graph.add_token(token, ig_account_id=account, login="instagram", ends_at_s=ends_at_s)
            await world.connect(account, token, "instagram")
        for account in PLAIN:
            await world.database.fetch(
                "UPDATE instagram_connections SET access_token = $2, token_expires_at = $3"
                " WHERE ig_account_id = $1",
                account,
                f"IGAA-first-token-of-{account}",
                START + 60 * DAY,
            )
        for account in FACEBOOK:
            graph.add_account(account)
            self._set_facebook_token(account)
            await world.connect(account, f"EAAG-token-of-{account}")

    def _set_facebook_token(self, account: str) -> None:
        """Extend the data access as owners log in, except one who never does."""
        until = (START if account == ACCESS_ENDING else self.world.clock()) + 90 * DAY
        ends_at_s = (START + 60 * DAY).timestamp() if account == ENDING else float("inf")
        self.world.graph.add_token(
            f"EAAG-token-of-{account}",
            ig_account_id=account,
            debug={"data_access_expires_at": int(until.timestamp())},
            ends_at_s=ends_at_s,
        )

    async def live(self, replicas: int = 2) -> None:
        """Simulate a year with some replicas."""
        checkers = [self.world.checker() for _ in range(replicas)]
        for tick in range(int(DAYS * DAY / TICK)):
            if tick % 80 == 0:
                for account in FACEBOOK:
                    self._set_facebook_token(account)
            for checker in checkers:
                self.checks += await checker.check_due()
            if self.world.clock() >= START + PASSWORD_CHANGES_ON * DAY:
                self.world.graph.set_answer("password_changed", account=PASSWORD_CHANGED)
            for warning in await self.world.watch().read():
                self._note(warning)
            self.world.clock.move(TICK)

    def _note(self, warning: TokenWarning) -> None:
        key = (warning.ig_account_id, warning.kind)
        self.first_warned.setdefault(key, self.world.clock())
        if warning.ends_at is not None:
            self.ends[key] = warning.ends_at
        if warning.kind == "dead":
            self.dead.setdefault(warning.ig_account_id, self.world.clock())

    def show(self, took_s: float) -> None:
        """Print the results."""
        renewed = Counter(self.world.graph.world.renewals)
        renewable = [a for a in INSTAGRAM if a not in (*PLAIN, PASSWORD_CHANGED)]
        calls = Counter(self.world.graph.token_calls)
        print(f"{DAYS} days of {len(INSTAGRAM)} Instagram and {len(FACEBOOK)} Facebook accounts")
        print(f"checks: {self.checks}, Graph calls: {sum(calls.values())} {dict(calls)}")
        print(f"calls an account and day: {sum(calls.values()) / 50 / DAYS:.2f}")
        print(f"renewed: {sum(renewed.values())} times, {len(renewed)} accounts")
        print(f"dead of the {len(renewable)} that could be renewed: {self._dead_of(renewable)}")
        print(f"dead in all: {sorted(self.dead)}")
        for (account, kind), since in sorted(self.first_warned.items()):
            ends_at = self.ends.get((account, kind))
            before = f", {(ends_at - since).days} days before its end" if ends_at else ""
            print(f"  warned of {account} ({kind}) on day {(since - START).days}{before}")
        print(f"took {took_s:.0f} s")

    def _dead_of(self, accounts: list[str]) -> int:
        return sum(account in self.dead for account in accounts)


async def _run() -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(scratch_folder()))
        server = stack.enter_context(EmbeddedPostgres(folder / "postgres", durable=False))
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("CREATE DATABASE token_year")
        await connection.close()
        dsn = server.dsn("token_year")
        await migrate(dsn, Vault((KEY,)))
        database = await stack.enter_async_context(Database.connect(dsn))
        world = await stack.enter_async_context(token_world(database))
        year, started_at = Year(world), time.monotonic()
        await year.connect()
        await year.live()
        year.show(time.monotonic() - started_at)


if __name__ == "__main__":
    asyncio.run(_run())
