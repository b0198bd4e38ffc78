"""Accounts, their tokens and Meta in simulated time, on a real PostgreSQL."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sandbox.graph.simulator import GraphSimulator
from service.accounts.token_checks import TokenChecker
from service.accounts.token_watch import TokenWatch
from service.graph.budget import Budget, PauseBoard
from service.graph.calls import GraphCaller, graph_session
from service.graph.tokens import TokenCalls
from service.store.connections import Connections
from service.store.database import Database
from service.store.pauses import Pauses
from service.store.slots import Slots
from service.store.tokens import Tokens
from service.vault import Vault

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
KEY = base64.urlsafe_b64encode(b"an encryption key of 32 bytes...").decode()


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> None:
        self.now += by


@dataclass
class TokenWorld:
    """What the checks of tokens work with."""

    database: Database
    graph: GraphSimulator
    calls: TokenCalls
    clock: Clock
    vault: Vault = field(default_factory=lambda: Vault((KEY,)))

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.database)

    @property
    def connections(self) -> Connections:
        return Connections(self.database, self.vault)

    def checker(self, *, seals: bool = False) -> TokenChecker:
        """Make the checker of one replica."""
        board = PauseBoard()
        slots = Slots(self.database, interval_s=0.001)
        budget = Budget(slots, Pauses(self.database), board, lambda *_: None)
        return TokenChecker(
            *(self.tokens, self.calls, budget, self.vault),
            seals=seals,
            clock=self.clock,
            soon_s=0,
        )

    def watch(self, *, seals: bool = False) -> TokenWatch:
        return TokenWatch(self.tokens, seals=seals, clock=self.clock)

    async def connect(self, account: str, token: str, login: str = "facebook") -> None:
        """Store a sealed token, as of the simulated now."""
        await self.database.fetch(
            "INSERT INTO instagram_connections"
            " (ig_account_id, location_id, login, access_token, created_at, updated_at)"
            " VALUES ($1, 'loc', $2, $3, $4, $4)",
            account,
            login,
            self.vault.seal(token, account),
            self.clock(),
        )

    async def stored(self, account: str) -> str:
        """Read an account's token as it is used."""
        query = "SELECT access_token FROM instagram_connections WHERE ig_account_id = $1"
        return self.vault.open((await self.database.fetch(query, account))[0][0], account)

    async def column(self, account: str, name: str) -> object:
        query = f"SELECT {name} FROM instagram_connections WHERE ig_account_id = $1"  # noqa: S608
        return (await self.database.fetch(query, account))[0][0]


@asynccontextmanager
async def token_world(database: Database) -> AsyncIterator[TokenWorld]:
    """Start a Graph simulator whose clock is the checks' own."""
    clock = Clock()
    async with (
        GraphSimulator(app_secret="secret", now=lambda: clock().timestamp()) as graph,
        graph_session(4) as session,
    ):
        hosts = {"facebook": graph.url, "instagram": graph.instagram_url}
        caller = GraphCaller(session, hosts, "v23.0", "secret", timeout_s=10)
        yield TokenWorld(database, graph, TokenCalls(caller), clock)
