"""`python -m benchmarks.population`: how much an inbox shows of a shop's people, and the cost.

Before: profiles only, and redirects to Meta's pictures. After: the second source, and copies.

676 people with the published shares of a shop: Meta refuses the profiles of 18 %, and 40 % of the
others have only a username. Each writes once. The Graph API is the simulator, which lists
conversations at 2 calls a second per account; its pictures have Meta's headers and expire. A
picture counts as shown if the route's answer, or the target of its redirect, is an image that
other origins can embed.

`--conversations 10000` measures `participants import --from-meta` instead.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import click
import structlog

from benchmarks.payloads import new_users
from sandbox import samples
from sandbox.graph.answers import ErrorAnswer
from sandbox.graph.simulator import GraphSimulator
from sandbox.postgres.server import EmbeddedPostgres
from service.app import service
from service.settings import Settings

API = "/api/social/instagram"
ACCOUNT, TOKEN, LOCATION = "17841400000000001", "EAAG-token-of-the-shop", "shop"
APP_SECRET, INBOX_KEY, OPERATOR_KEY = "population-secret", "population-inbox", "population-operator"
ENCRYPTION_KEY = base64.urlsafe_b64encode(bytes(32)).decode()
REFUSED, NAMELESS = 0.18, 0.40
REFUSAL = ErrorAnswer(code=230, message="User consent is required to access user profile")
BEFORE = {"conversation_names": "false", "pictures": "link"}
WEEK = timedelta(days=8)  # longer than any picture's URL is valid
BATCH = 50
WORK = ("instagram_queue_depth", "instagram_in_flight", "instagram_pictures_waiting")


@dataclass
class Clock:
    """The simulated time, which can be moved forward."""

    ahead_s: float = 0.0

    def now(self) -> float:
        """Return the simulated time in Unix seconds."""
        return time.time() + self.ahead_s


@dataclass(frozen=True)
class Shown:
    """How many names and pictures an inbox on another site shows."""

    names: int
    pictures: int


@dataclass(frozen=True)
class Shop:
    """A running service, its simulated Graph and the shop's people."""

    url: str
    session: aiohttp.ClientSession
    graph: GraphSimulator
    users: list[str]

    async def connect(self) -> None:
        """Store the shop's connection."""
        await self._call("PUT", f"/connections/{ACCOUNT}", OPERATOR_KEY, _CONNECTION)

    async def write_all(self) -> None:
        """Send one message from each person."""
        await self.connect()
        for at in range(0, len(self.users), BATCH):
            items = [samples.message(user, ACCOUNT) for user in self.users[at : at + BATCH]]
            body = samples.delivery(samples.entry(ACCOUNT, *items))
            headers = samples.signed_headers(body, APP_SECRET)
            async with self.session.post(
                f"{self.url}{API}/webhook", data=body, headers=headers
            ) as answer:
                answer.raise_for_status()

    async def identities(self) -> list[dict[str, Any]]:
        """Look all people up."""
        found: list[dict[str, Any]] = []
        for at in range(0, len(self.users), 200):
            ids = ",".join(self.users[at : at + 200])
            found += (await self._call("GET", f"/users?ids={ids}", INBOX_KEY))["users"]
        return found

    async def settled(self) -> None:
        """Wait until no user is queued or in flight, and no picture waits to be copied."""
        while await self._is_at_work():  # noqa: ASYNC110 - polls like an inbox
            await asyncio.sleep(0.5)
        await asyncio.sleep(1)  # the two copies in progress

    async def shown(self) -> Shown:
        """Count the names and pictures that an inbox on another site shows."""
        identities = await self.identities()
        pictures = [await self._is_picture_shown(i["igUserId"]) for i in identities]
        return Shown(sum(not i["isPlaceholder"] for i in identities), sum(pictures))

    async def _is_at_work(self) -> bool:
        """Read few figures only, since the simulator runs in this process too."""
        async with self.session.get(f"{self.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return any(float(figures[name]) for name in WORK)

    async def _is_picture_shown(self, user: str) -> bool:
        headers = {"Authorization": f"Bearer {INBOX_KEY}"}
        async with self.session.get(
            f"{self.url}{API}/users/{user}/picture", headers=headers
        ) as answer:  # as a browser follows the redirect
            is_image = answer.status == 200 and answer.content_type in ("image/png", "image/jpeg")
            return is_image and answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"

    async def _call(self, method: str, path: str, key: str, body: object = None) -> Any:  # noqa: ANN401 - any JSON
        async with self.session.request(
            method, f"{self.url}{API}{path}", headers={"Authorization": f"Bearer {key}"}, json=body
        ) as answer:
            answer.raise_for_status()
            return await answer.json()


_CONNECTION = {"locationId": LOCATION, "accessToken": TOKEN}


def populate(graph: GraphSimulator, count: int) -> list[str]:
    """Create the shop's people; those with a refused profile are listed in a conversation."""
    users = new_users(count)
    refused = round(REFUSED * count)
    nameless = round(NAMELESS * (count - refused))
    graph.add_account(ACCOUNT, TOKEN)
    for number, user in enumerate(users):
        graph.set_thread(user, ACCOUNT)
        if number < refused:
            graph.set_answer(REFUSAL, user=user)
        elif number < refused + nameless:
            graph.set_profile(user, name=None)
    random.Random(count).shuffle(users)  # noqa: S311 - mixes the refused with the others
    return users


@asynccontextmanager
async def _shop(
    postgres: EmbeddedPostgres, graph: GraphSimulator, users: list[str], **changed: object
) -> AsyncIterator[Shop]:
    settings = Settings.model_validate(_environment(postgres, graph) | changed)
    async with service(settings) as running, aiohttp.ClientSession() as session:
        yield Shop(f"http://127.0.0.1:{running.port}", session, graph, users)


def _environment(postgres: EmbeddedPostgres, graph: GraphSimulator) -> dict[str, str]:
    return {
        "database_url": postgres.dsn("population"),
        "meta_app_secrets": APP_SECRET,
        "meta_verify_token": "population",
        "inbox_api_keys": INBOX_KEY,
        "operator_api_keys": OPERATOR_KEY,
        "token_encryption_keys": ENCRYPTION_KEY,
        "graph_base_url": graph.url,
        "instagram_graph_base_url": graph.instagram_url,
        "picture_hosts": graph.album.origin,
        "host": "127.0.0.1",
        "port": "0",
    }


async def _new_database(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.dsn())
    try:
        await connection.execute("DROP DATABASE IF EXISTS population WITH (FORCE)")
        await connection.execute("CREATE DATABASE population")
    finally:
        await connection.close()


async def _measure(postgres: EmbeddedPostgres, label: str, count: int, **changed: object) -> None:
    """Print what an inbox shows of a population, immediately and 8 days later."""
    clock = Clock()
    await _new_database(postgres)
    async with GraphSimulator(app_secret=APP_SECRET, now=clock.now) as graph:
        users = populate(graph, count)
        async with _shop(postgres, graph, users, **changed) as shop:
            began_s = time.monotonic()
            await shop.write_all()
            await shop.settled()
            took_s = time.monotonic() - began_s
            at_once = await shop.shown()
            spent = (len(graph.calls), len(graph.conversations.calls), len(graph.album.calls))
            clock.ahead_s = WEEK.total_seconds()
            later = await shop.shown()
        print(
            f"| {label} | {at_once.names} | {at_once.pictures} | {later.pictures} "
            f"| {spent[0]} | {spent[1]} | {spent[2]} | {took_s:.0f} s "
            f"| {max(0.0, graph.most_over_budget(10)):.1f} |",
            flush=True,
        )


async def _compare(count: int) -> None:
    refused = round(REFUSED * count)
    print(f"{count} people, {refused} refused by the profile call, budget 10 calls/s\n")
    print(
        "| | names shown | pictures shown | pictures, 8 days later | profile calls "
        "| conversation calls | picture fetches | took | calls over budget |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with _postgres() as postgres:
        await _measure(postgres, "before", count, **BEFORE)
        await _measure(postgres, "after", count)


async def _import(count: int) -> None:
    """Import conversations, and print the number of names and of calls."""
    with _postgres() as postgres:
        await _new_database(postgres)
        async with GraphSimulator(app_secret=APP_SECRET) as graph:
            graph.add_account(ACCOUNT, TOKEN)
            now = graph.world.now()
            talks = [(u, now - timedelta(seconds=n)) for n, u in enumerate(new_users(count))]
            graph.set_conversations(ACCOUNT, talks)
            async with _shop(postgres, graph, []) as shop:
                await shop.connect()
            profiles = len(graph.calls)
            began_s = time.monotonic()
            await _run_import(_environment(postgres, graph))
            took_s = time.monotonic() - began_s
            named = await _count_named(postgres)
            calls = len(graph.conversations.calls)
            print(
                f"{count} conversations: {named} named after {calls} calls, {took_s:.0f} s, "
                f"{len(graph.calls) - profiles} profile calls"
            )


async def _run_import(environment: dict[str, str]) -> None:
    named = {name.upper(): value for name, value in environment.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "participants", "import", "--from-meta"),
        *("--location", LOCATION, "--days", "30"),
        env=os.environ | named,
    )
    if await process.wait():
        raise RuntimeError(f"the import ended with {process.returncode}")


async def _count_named(postgres: EmbeddedPostgres) -> int:
    connection = await asyncpg.connect(postgres.dsn("population"))
    try:
        named = "SELECT count(*) FROM instagram_user_cache WHERE username IS NOT NULL"
        return int(await connection.fetchval(named))
    finally:
        await connection.close()


@contextmanager
def _postgres() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="population-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder) / "postgres", durable=False) as postgres:
            yield postgres


@click.command()
@click.option("--users", default=676, show_default=True, help="How many people write.")
@click.option("--conversations", default=0, help="Measure an import of so many instead.")
def main(users: int, conversations: int) -> None:
    """Print what an inbox shows of a shop's people before and after, and the cost."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(_import(conversations) if conversations else _compare(users))


if __name__ == "__main__":
    main()
