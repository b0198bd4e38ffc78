"""A load of webhooks that counts every answer."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from sandbox import samples
from tests.service.conftest import ACCOUNT, API, APP_SECRET, new_user
from tests.until import until


@dataclass
class Stream:
    """Deliveries without a break, half of them each on a connection of its own."""

    url: str
    answers: Counter[str] = field(default_factory=Counter)
    acked: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator["Stream"]:
        kept = aiohttp.TCPConnector(limit=2)
        reconnecting = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=kept) as first,
            aiohttp.ClientSession(connector=reconnecting) as second,
        ):
            senders = [asyncio.create_task(self._send(s)) for s in (first, first, second, second)]
            try:
                yield self
            finally:
                for sender in senders:
                    sender.cancel()
                await asyncio.wait(senders)

    async def _send(self, session: aiohttp.ClientSession) -> None:
        while True:
            user = new_user()
            body = samples.delivery(samples.entry(ACCOUNT, samples.message(user, ACCOUNT)))
            headers = samples.signed_headers(body, APP_SECRET)
            try:
                async with session.post(
                    f"{self.url}{API}/webhook", data=io.BytesIO(body), headers=headers
                ) as response:
                    self.answers[str(response.status)] += 1
                    if response.status == 200:
                        self.acked.append(user)
            except aiohttp.ClientError as error:
                self.answers[repr(error)] += 1
            await asyncio.sleep(0.01)

    async def more(self, count: int = 60) -> None:
        """Wait for so many more acknowledgements."""
        wanted = len(self.acked) + count

        async def are_there() -> bool:
            return len(self.acked) >= wanted

        await until(are_there)
