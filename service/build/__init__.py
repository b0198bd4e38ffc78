"""Builds the parts of the service from its settings; starts nothing."""

from __future__ import annotations

import asyncio
from functools import partial

import aiohttp

from service.accounts.leaving import AccountLeaver, Retention
from service.accounts.token_watch import TokenWatch
from service.erasure import forget
from service.graph.budget import Budget, PauseBoard
from service.http.counted import COUNTS_CHANNEL, CountedUsers
from service.identities.events import Changes
from service.identities.memory import LookupMemory
from service.identities.pictures.copies import Pictures
from service.identities.pictures.fetch import PictureFetcher
from service.metrics import Metrics
from service.queue import TurnQueue
from service.receiving.forwarding.forwarding import Forwarding
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.known import Known
from service.replica import Replica
from service.resolving.on_request import RequestedFetches
from service.resolving.sweeper import Sweeper
from service.settings import Settings, secret_values
from service.store.connections import Connections
from service.store.counts import Counts
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.leaving import Leavings
from service.store.listener import Listener
from service.store.pauses import Pauses
from service.store.pictures import StoredPictures
from service.store.slots import Slots
from service.store.tokens import Tokens
from service.vault import Vault


class Parts:
    """The parts that both halves of the service need; building them starts nothing."""

    def __init__(
        self, settings: Settings, vault: Vault, database: Database, fetcher: PictureFetcher
    ) -> None:
        self.settings = settings
        self.vault = vault
        self.database = database
        self.rules = settings.rules
        self.metrics, self.board = Metrics(), PauseBoard()
        clock = asyncio.get_running_loop().time
        self.known, self.memory = Known(), LookupMemory(clock=clock)
        self.queue = TurnQueue(settings.queue_capacity, self.board.holds, clock)
        self.forget = partial(forget, self.known, self.memory, self.queue)
        self.identities = Identities(database, self.rules)
        self.counted = CountedUsers(Counts(database, self.rules), database.notify, self.metrics)
        self.changes = Changes(self.identities.look_up, self.rules)
        self.pictures = Pictures(
            fetcher,
            StoredPictures(database),
            lambda outcome: self.metrics.picture_copies[outcome].inc(),
            is_copying=settings.pictures == "copy",
        )
        self.pauses = Pauses(database)
        self.connections = Connections(database, vault, seals_plain=settings.seal_tokens)
        self.requested = RequestedFetches(
            self.identities, self.queue, self.rules, self.memory.evict
        )
        self.sweeper = Sweeper(self.identities.find_due, self.queue, settings.queue_capacity)
        self.replica = Replica(
            *(self.connections, self.pauses, self.board, self.known, self.memory),
            *(self.queue, self.changes, self.pictures),
            on_change=self.requested.note_change,
            on_due=self.sweeper.wake,
        )
        slots = Slots(database, 1 / settings.graph_calls_per_second)
        self.budget = Budget(slots, self.pauses, self.board, self.queue.hold)
        self.tokens = Tokens(database)
        self.token_watch = TokenWatch(self.tokens, seals=settings.seal_tokens)
        leavings = Leavings(database)
        self.leaver = AccountLeaver(leavings, self.forget)
        self.retention = Retention(leavings, self.forget, settings.retention_days)


def build_listener(parts: Parts) -> Listener:
    """Build the listener for the notices of all replicas."""
    replica = parts.replica
    return Listener(
        parts.settings.listen_dsn,
        parts.database.notify,
        replica.notices() | {COUNTS_CHANNEL: parts.counted.hear},
        replica.connected,
        replica.distrust,
        replica.trust,
    )


def build_arrivals(parts: Parts) -> Arrivals:
    """Build what stores the participants that an intake receives."""
    return Arrivals(Journal(parts.database, parts.rules), parts.known, parts.queue, parts.metrics)


def build_forwarding(parts: Parts, session: aiohttp.ClientSession) -> Forwarding | None:
    """Build the forwarding of deliveries; None without FORWARD_URLS."""
    settings = parts.settings
    if not settings.forward_urls:
        return None
    return Forwarding(
        parts.database,
        secret_values(settings.token_encryption_keys),
        secret_values(settings.forward_urls),
        settings.forward_max_bytes,
        session,
        parts.metrics,
    )
