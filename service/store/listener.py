"""Receives the notices of all replicas on a separate session, and proves that they arrive."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import asyncpg
import structlog

from service.errors import UnavailableError
from service.failing import log_unexpected
from service.store.database import describe
from service.store.session import CONNECT_FAILURES, connect
from service.waiting import wait_at_most

PROOFS = "instagram_proofs"
PROVE_EVERY_S = 1.0
HEARD_WITHIN_S = 2.0
_RECONNECT_S = (0.05, 0.2, 0.5, 1.0)

log = structlog.get_logger()


class _UnheardError(Exception):
    """A notice that was sent has not arrived."""


class Listener:
    """Receives the notices of all replicas, and knows whether they arrive.

    `notify` sends a notice as all others are sent. Every second the listener sends itself a
    notice, the proof: a session can answer and still receive nothing, behind a pooler in
    transaction mode or over a dead network path. Notices arrive in the order they were sent, so a
    proof shows that none before it was missed.

    `on_connected` is called once notices arrive on a new session, since some may have been missed;
    `on_unreliable` when notices may be missed from now on; `on_reliable` when none was missed.
    """

    def __init__(
        self,
        url: str,
        notify: Callable[[str, str], Awaitable[None]],
        on_notice: Mapping[str, Callable[[str], None]],
        on_connected: Callable[[], Awaitable[None]],
        on_unreliable: Callable[[], None],
        on_reliable: Callable[[], None],
        *,
        prove_every_s: float = PROVE_EVERY_S,
        heard_within_s: float = HEARD_WITHIN_S,
    ) -> None:
        self._url = url
        self._notify = notify
        self._on_notice = {**on_notice, PROOFS: self._hear_proof}
        self._on_connected = on_connected
        self._on_unreliable = on_unreliable
        self._on_reliable = on_reliable
        self._prove_every_s = prove_every_s
        self._heard_within_s = heard_within_s
        self._expected = ""
        self._is_heard = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled; reconnects after errors."""
        attempt = 0
        while True:
            try:
                async for _ in self._listen():
                    attempt = 0
            except (*CONNECT_FAILURES, UnavailableError) as error:
                if attempt == 0:
                    log.warning("notices interrupted", error=_name(error))
            except _UnheardError:
                if attempt == 0:
                    log.error(_UNHEARD)
            except Exception as error:  # noqa: BLE001 - without notices the tables are asked
                log_unexpected("notices interrupted", error)
            finally:
                self._on_unreliable()
            await asyncio.sleep(_RECONNECT_S[min(attempt, len(_RECONNECT_S) - 1)])
            attempt += 1

    async def _listen(self) -> AsyncIterator[None]:
        """Listen on a new session; the block runs until the session is lost."""
        lost = asyncio.Event()
        connection = await connect(self._url)
        try:
            connection.add_termination_listener(lambda _: self._lose(lost))
            await self._subscribe(connection)
            await self._prove(lost)
            await self._on_connected()
            while not lost.is_set():
                yield
                if not await wait_at_most(lost, self._prove_every_s):
                    await self._prove_again(lost)
        finally:
            connection.terminate()

    async def _subscribe(self, connection: asyncpg.Connection) -> None:
        async with asyncio.timeout(self._heard_within_s):
            for channel in self._on_notice:
                await connection.add_listener(channel, self._hear)

    async def _prove_again(self, lost: asyncio.Event) -> None:
        """Prove that no notice was missed; if the proof cannot be sent, call `on_unreliable`."""
        try:
            await self._prove(lost)
        except UnavailableError:
            self._on_unreliable()
        else:
            self._on_reliable()

    async def _prove(self, lost: asyncio.Event) -> None:
        """Send a proof and await it; raises UnavailableError, _UnheardError or ConnectionError."""
        self._expected = secrets.token_hex(8)
        self._is_heard.clear()
        await self._notify(PROOFS, self._expected)
        if lost.is_set():
            raise ConnectionResetError
        if not await wait_at_most(self._is_heard, self._heard_within_s):
            raise _UnheardError
        if lost.is_set():
            raise ConnectionResetError

    def _lose(self, lost: asyncio.Event) -> None:
        self._on_unreliable()
        lost.set()
        self._is_heard.set()

    def _hear(self, _: object, __: int, channel: str, payload: object) -> None:
        self._on_notice[channel](str(payload))

    def _hear_proof(self, payload: str) -> None:
        if payload == self._expected:
            self._is_heard.set()


_UNHEARD = (
    "notices do not arrive, so nothing is answered from memory: if DATABASE_URL points to a pooler "
    "in transaction mode, set LISTEN_DATABASE_URL to a direct connection of the same database"
)


def _name(error: BaseException) -> str:
    return str(error) if isinstance(error, UnavailableError) else describe(error)
