"""Copies of tables in a replica's memory, kept up to date by notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import structlog

from service.errors import UnavailableError
from service.failing import log_unexpected
from service.graph.budget import PauseBoard
from service.identities.events import Changes
from service.identities.memory import LookupMemory
from service.identities.pictures.copies import Pictures
from service.queue import TurnQueue
from service.receiving.intake.known import Known
from service.store.connections import Connections
from service.store.pauses import Pauses
from service.waiting import wait_at_most

REREAD_S = 30.0
REREAD_UNHEARD_S = 1.0
COALESCE_S = 0.1
_EVERYTHING = "*"

log = structlog.get_logger()


class Replica:
    """Keeps the directory of connected ids, the pauses and the known participants up to date.

    `on_change` is called with the users whose identity has changed on any replica, and with None
    if that can be any user or a pause has changed; `on_due` if users may have become due.
    """

    def __init__(
        self,
        connections: Connections,
        pauses: Pauses,
        board: PauseBoard,
        known: Known,
        memory: LookupMemory,
        queue: TurnQueue,
        changes: Changes,
        pictures: Pictures,
        on_change: Callable[[Iterable[str] | None], None],
        on_due: Callable[[], None],
        on_connections: Callable[[], None] = lambda: None,
    ) -> None:
        self._connections = connections
        self._pauses = pauses
        self._board = board
        self._known = known
        self._memory = memory
        self._queue = queue
        self._changes = changes
        self._pictures = pictures
        self._on_change = on_change
        self._on_due = on_due
        self.on_connections = on_connections
        self._reread = asyncio.Event()
        self._are_connections_changed = False
        self._is_directory_stale = False
        self.account_of: Mapping[str, str] = {}

    def notices(self) -> dict[str, Callable[[str], None]]:
        """Map each channel to its handler."""
        return {
            "instagram_identities": self._identities_changed,
            "instagram_gone": self._participants_gone,
            "instagram_pictures": self._pictures_changed,
            "instagram_connections": self._connections_changed,
            "instagram_pauses": lambda _: self._reread.set(),
        }

    async def connected(self) -> None:
        """Reload from the tables: notices may have been missed."""
        self._known.clear()
        self._memory.clear()
        await self._connections.take_over()
        await self.read()
        self.trust()
        self._changes.note_gap()

    def distrust(self) -> None:
        """Stop trusting memory: notices may be missed from now on."""
        if self._known.is_trusted:
            self._known.is_trusted = self._memory.is_trusted = False
            self._is_directory_stale = True
            self._reread.set()

    def trust(self) -> None:
        """Trust memory: every notice so far has arrived."""
        self._known.is_trusted = self._memory.is_trusted = True

    async def read(self) -> None:
        """Read the directory and the pauses; drops the queued users of paused accounts."""
        await self._read_directory()
        await self._read_pauses()

    async def _read_directory(self) -> None:
        self._is_directory_stale = False
        try:
            directory = await self._connections.read_directory()
        except UnavailableError:
            self._is_directory_stale = True
            raise
        if directory != self.account_of:
            self.account_of = directory
            self._known.clear()
        self._board.connect(directory.values(), directory)

    async def _read_pauses(self) -> None:
        self._board.replace(await self._pauses.read())
        for ig_account_id in self._board.paused_accounts():
            if dropped := self._queue.drop_account(ig_account_id):
                log.info(
                    "account paused: its queue is left to the sweeper",
                    ig_account_id=ig_account_id,
                    users=dropped,
                )
        self._on_change(None)
        self._on_due()

    async def run(self) -> None:
        """Reload after notices and periodically, until cancelled.

        While notices do not arrive, it reloads every second, so a pause applies to all replicas
        within that time. A notice of a pause reloads only the pauses; many notices together cause
        one reload.
        """
        is_away = False
        while True:
            every_s = REREAD_S if self._known.is_trusted else REREAD_UNHEARD_S
            if not await wait_at_most(self._reread, every_s):
                self._is_directory_stale = True
            self._reread.clear()
            try:
                await self._take_over()
                if self._is_directory_stale:
                    await self._read_directory()
                await self._read_pauses()
                is_away = False
            except UnavailableError as error:
                if not is_away:
                    log.warning("pauses not read", error=str(error))
                is_away = True
                await self._read_again_soon()
            except Exception as error:  # noqa: BLE001 - a row by hand must not end the process
                log_unexpected("pauses not read", error)
                await self._read_again_soon()
            await asyncio.sleep(COALESCE_S)

    async def _read_again_soon(self) -> None:
        await asyncio.sleep(REREAD_UNHEARD_S)
        self._reread.set()

    async def _take_over(self) -> None:
        """Apply the changes that another application has made to connections."""
        if not self._are_connections_changed:
            return
        self._are_connections_changed = False
        try:
            await self._connections.take_over()
        except UnavailableError:
            self._are_connections_changed = True
            raise

    def _connections_changed(self, _: str) -> None:
        self._are_connections_changed = True
        self._is_directory_stale = True
        self._reread.set()
        self.on_connections()

    def _identities_changed(self, payload: str) -> None:
        if payload == _EVERYTHING:
            self._known.forget_freshness()
            self._memory.clear()
            self._changes.note_gap()
            self._on_change(None)
        else:
            changed = [line.partition(" ") for line in payload.splitlines()]
            for ig_user_id, _, until in changed:
                self._known.update(ig_user_id, _moment(until))
                self._memory.evict(ig_user_id)
            users = [ig_user_id for ig_user_id, _, _ in changed]
            self._changes.note(users)
            self._on_change(users)

    def _pictures_changed(self, payload: str) -> None:
        if payload == _EVERYTHING:
            self._memory.clear()
            self._changes.note_gap()
            return
        users = payload.splitlines()
        for ig_user_id in users:
            self._memory.evict(ig_user_id)
        self._changes.note(users)

    def _participants_gone(self, payload: str) -> None:
        if payload == _EVERYTHING:
            self._known.clear()
            self._memory.clear()
            self._changes.note_gap()
            return
        gone = payload.splitlines()
        for ig_user_id in gone:
            self._known.evict(ig_user_id)
            self._memory.evict(ig_user_id)
            self._queue.forget(ig_user_id)
            self._pictures.forget(ig_user_id)
        self._changes.note(gone)


def _moment(unix_seconds: str) -> datetime | None:
    try:
        seconds = int(unix_seconds)
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
