"""A running service for the tests of its routes: real PostgreSQL, real HTTP, Graph if asked for."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from sandbox import samples
from service.app import Running, service
from service.settings import Settings
from tests.answers import Answer
from tests.until import until

API = "/api/social/instagram"
ACCOUNT, USER, OTHER = "17841400000000001", "1254459154682919", "1254459154682920"
TOKEN, APP_SECRET = "EAAG-token-of-the-account", "an-app-secret-for-tests"
INBOX_KEY, OPERATOR_KEY = "inbox-key-for-tests", "operator-key-for-tests"
ENCRYPTION_KEY = base64.urlsafe_b64encode(b"an encryption key of 32 bytes...").decode()
NOBODY_LISTENS = "http://127.0.0.1:9"
PATIENCE_S = 60


class EventStream:
    """What comes over one stream, event by event; a connection of its own."""

    def __init__(self, url: str, **request: Any) -> None:  # noqa: ANN401 - aiohttp's arguments
        self._url, self._request = url, request
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        self.response = await session.get(self._url, **self._request)
        assert self.response.status == 200, await self.response.text()
        assert "opened" in await self.block()  # the headers alone say nothing yet
        return self

    async def __aexit__(self, *_: object) -> None:
        self.response.close()
        await self._stack.aclose()

    async def block(self) -> str:
        """Wait for the next block of lines; empty at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return (await self.response.content.readuntil(b"\n\n")).decode()
            except aiohttp.ClientError:
                return ""

    async def event(self) -> tuple[str, Any]:
        """Wait for the next event: its name and its data."""
        while block := await self.block():
            lines = dict(line.split(": ", 1) for line in block.strip().splitlines())
            if "event" in lines:
                assert lines.keys() == {"event", "data"}
                return lines["event"], json.loads(lines["data"])
        raise AssertionError("the stream has ended")

    async def identity(self) -> Any:  # noqa: ANN401 - JSON
        """Wait for the next event, which is an identity."""
        name, identity = await self.event()
        assert name == "identity"
        return identity

    async def end(self) -> list[str]:
        """Read to the end; give the blocks before it."""
        blocks = []
        while block := await self.block():
            blocks.append(block)
        return blocks


@dataclass(frozen=True)
class Client:
    """One replica, as those outside use it."""

    running: Running
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}{API}"

    async def call(
        self,
        method: str,
        path: str,
        key: str | None = INBOX_KEY,
        **request: Any,  # noqa: ANN401 - aiohttp's arguments
    ) -> Answer:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= request.pop("headers", {})
        async with self.session.request(
            method, self.url + path, headers=headers, allow_redirects=False, **request
        ) as response:
            return await Answer.of(response)

    async def get(self, path: str, **request: Any) -> Answer:  # noqa: ANN401
        return await self.call("GET", path, **request)

    async def grant(self, expires_in_s: int = 60) -> str:
        answer = await self.call("POST", "/grants", json={"expiresIn": expires_in_s})
        assert answer.status == 200, answer.body
        return str(answer.json["grant"])

    def events(self, query: str = "", **headers: str) -> EventStream:
        """Watch as a server does, with a key; `async with` opens the stream."""
        headers = {"Authorization": f"Bearer {INBOX_KEY}"} | headers
        return EventStream(f"{self.url}/users/events{query}", headers=headers)

    async def connect_account(self) -> None:
        body = {"locationId": "loc_1", "accessToken": TOKEN}
        answer = await self.call("PUT", f"/connections/{ACCOUNT}", OPERATOR_KEY, json=body)
        assert answer.status == 200, answer.body

    async def refresh(self, user: str) -> Answer:
        answer = await self.call("POST", f"/users/{user}/refresh", OPERATOR_KEY)
        assert answer.status == 200, answer.body
        return answer

    async def delete(self, user: str) -> Answer:
        return await self.call("DELETE", f"/users/{user}", OPERATOR_KEY)

    async def write(self, user: str) -> None:
        """Have a user write a message."""
        body = samples.delivery(samples.entry(ACCOUNT, samples.message(user, ACCOUNT)))
        headers = samples.signed_headers(body, APP_SECRET)
        answer = await self.call("POST", "/webhook", None, data=body, headers=headers)
        assert answer.status == 200, answer.body

    async def metric(self, name: str) -> float:
        url = f"http://127.0.0.1:{self.running.port}/metrics"
        async with self.session.get(url) as response:
            lines = (await response.text()).splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    async def until_metric(self, name: str, value: float) -> None:
        async def is_reached() -> bool:
            return await self.metric(name) == value

        await until(is_reached)


class Start(Protocol):
    def __call__(self, **changed: object) -> Awaitable[Client]: ...


MakeSettings = Callable[..., Settings]


def settings_for(database_url: str, **changed: object) -> Settings:
    """Make settings for a database; arguments replace what they name."""
    usual: dict[str, Any] = {
        "_env_file": None,
        "database_url": database_url,
        "meta_app_secrets": APP_SECRET,
        "meta_verify_token": "a-verify-token-for-tests",
        "inbox_api_keys": INBOX_KEY,
        "operator_api_keys": OPERATOR_KEY,
        "token_encryption_keys": ENCRYPTION_KEY,
        "graph_base_url": NOBODY_LISTENS,
        "instagram_graph_base_url": NOBODY_LISTENS,
        "graph_timeout_seconds": 30,
        "picture_hosts": NOBODY_LISTENS,
        "intake_url": SecretStr(""),
        "migrate_on_start": False,
        "host": "127.0.0.1",
        "port": 0,
        "shutdown_timeout_seconds": 4,
    }
    return Settings(**(usual | changed))


@pytest.fixture
def make_settings(database_url: str) -> MakeSettings:
    """Make settings for this test's database; arguments replace what they name."""
    return partial(settings_for, database_url)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_client(database_of_the_module: str) -> AsyncIterator[Client]:
    """Start one replica for a module's tests that leave it as it was; they run in its loop."""
    async with (
        service(settings_for(database_of_the_module)) as running,
        aiohttp.ClientSession() as session,
    ):
        yield Client(running, session)


@pytest.fixture
async def start(make_settings: MakeSettings) -> AsyncIterator[Start]:
    """Start replicas in this process; all of them are stopped after the test."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def start_one(**changed: object) -> Client:
            running = await stack.enter_async_context(service(make_settings(**changed)))
            client = Client(running, session)
            await client.until_metric("instagram_notices_up", 1)
            return client

        yield start_one


@pytest.fixture
async def client(start: Start) -> Client:
    """Start one replica."""
    return await start()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Change the tables behind the service's back, as another replica does."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
