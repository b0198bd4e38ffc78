"""Builds the parts of the service from its settings; starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from service.build.accounts import AccountParts, build_accounts
from service.erasure import forget
from service.graph.budget import Budget, PauseBoard
from service.http.counted import COUNTS_CHANNEL, CountedUsers
from service.identities.events import Changes
from service.identities.memory import LookupMemory
from service.identities.pictures.addresses import PictureHosts
from service.identities.pictures.copies import Pictures
from service.metrics import Metrics
from service.model.freshness import Rules
from service.queue import TurnQueue
from service.receiving.forwarding.forwarding import Forwarding
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.known import Known
from service.replica import Replica
from service.resolving.on_request import RequestedFetches
from service.resolving.sweeper import Sweeper
from service.settings import secret_values
from service.store.connections import Connections
from service.store.counts import Counts
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.listener import Listener
from service.store.pauses import Pauses
from service.store.pictures import StoredPictures
from service.store.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import aiohttp

    from service.identities.pictures.fetch import PictureFetcher
    from service.settings import Settings
    from service.store.database import Database
    from service.vault import Vault


@dataclass(frozen=True)
class PictureParts:
    """What copies, stores and finds pictures."""

    hosts: PictureHosts
    stored: StoredPictures
    copies: Pictures


@dataclass(frozen=True)
class Parts:
    """The parts that both halves of the service need."""

    settings: Settings
    vault: Vault
    database: Database
    rules: Rules
    metrics: Metrics
    board: PauseBoard
    known: Known
    memory: LookupMemory
    forget: Callable[[Sequence[str]], None]
    queue: TurnQueue
    identities: Identities
    counted: CountedUsers
    changes: Changes
    pictures: PictureParts
    pauses: Pauses
    connections: Connections
    requested: RequestedFetches
    sweeper: Sweeper
    replica: Replica
    budget: Budget
    accounts: AccountParts


def build_parts(
    settings: Settings, vault: Vault, database: Database, fetcher: PictureFetcher
) -> Parts:
    """Build the parts; starts nothing."""
    rules = _rules(settings)
    metrics, board, known, memory = Metrics(), PauseBoard(), Known(), LookupMemory()
    queue = TurnQueue(settings.queue_capacity, board.holds)
    forgets = partial(forget, known, memory, queue)
    identities = Identities(database, rules)
    changes = Changes(identities.look_up, rules)
    pictures = _pictures(settings, database, metrics, fetcher)
    pauses = Pauses(database)
    slots = Slots(database, 1 / settings.graph_calls_per_second)
    connections = Connections(database, vault, seals_plain=settings.seal_tokens)
    requested = RequestedFetches(identities, queue, rules, memory.evict)
    sweeper = Sweeper(identities.find_due, queue, settings.queue_capacity)
    replica = Replica(
        *(connections, pauses, board, known, memory, queue, changes, pictures.copies),
        on_change=requested.note_change,
        on_due=sweeper.wake,
    )
    return Parts(
        settings=settings,
        vault=vault,
        database=database,
        rules=rules,
        metrics=metrics,
        board=board,
        known=known,
        memory=memory,
        forget=forgets,
        queue=queue,
        identities=identities,
        counted=CountedUsers(Counts(database, rules), database.notify, metrics),
        changes=changes,
        pictures=pictures,
        pauses=pauses,
        connections=connections,
        requested=requested,
        sweeper=sweeper,
        replica=replica,
        budget=Budget(slots, pauses, board, queue.hold),
        accounts=build_accounts(settings, vault, database, forgets),
    )


def _rules(settings: Settings) -> Rules:
    return Rules(
        timedelta(days=settings.profile_ttl_days),
        settings.max_failures,
        pictures=settings.pictures,
        picture_origins=tuple(host for host in settings.picture_hosts if "://" in host),
    )


def _pictures(
    settings: Settings, database: Database, metrics: Metrics, fetcher: PictureFetcher
) -> PictureParts:
    hosts, stored = PictureHosts(settings.picture_hosts), StoredPictures(database)
    copies = Pictures(
        fetcher.fetch,
        stored,
        hosts,
        lambda outcome: metrics.picture_copies[outcome].inc(),
        is_copying=settings.pictures == "copy",
    )
    return PictureParts(hosts, stored, copies)


def build_listener(parts: Parts) -> Listener:
    """Build the listener for the notices of all replicas."""
    replica = parts.replica
    return Listener(
        parts.settings.notices_url.get_secret_value(),
        parts.database.notify,
        replica.notices() | {COUNTS_CHANNEL: parts.counted.hear},
        replica.connected,
        replica.doubt,
        replica.trust,
    )


def build_arrivals(parts: Parts) -> Arrivals:
    """Build the journal for the participants that an intake takes in."""
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
