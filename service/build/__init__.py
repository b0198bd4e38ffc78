"""Builds the parts of the service from its settings, and puts each in its place; starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from service.accounts.leaving import AccountLeaver, Retention
from service.accounts.token_trial import TokenTrial
from service.accounts.token_watch import TokenWatch
from service.erasure import Erasure, forget
from service.graph.budget import Budget, PauseBoard
from service.http.auth import Keyring
from service.http.connections import ConnectionRoutes
from service.http.console import ConsoleRoutes
from service.http.counted import COUNTS_CHANNEL, CountedUsers
from service.http.events import EventRoutes
from service.http.grant_signing import Grants
from service.http.guesses import Guesses
from service.http.health import HealthRoutes, Status
from service.http.history import Minutes
from service.http.operators import OperatorRoutes
from service.http.outlook import Outlook
from service.http.pages import Pages
from service.http.participants import ParticipantRoutes
from service.http.people import PeopleRoutes
from service.http.pictures import PictureRoutes, picture_source
from service.http.server import build_application
from service.http.users import UserRoutes
from service.http.webhook import WebhookRoutes
from service.identities.events import Changes
from service.identities.lookups import Lookups
from service.identities.memory import LookupMemory
from service.identities.people import People
from service.identities.pictures.addresses import PictureHosts
from service.identities.pictures.copies import Pictures
from service.metrics import Metrics
from service.model import Rules
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
from service.store.leaving import Leavings
from service.store.listener import Listener
from service.store.pauses import Pauses
from service.store.people import PeopleStore
from service.store.pictures import StoredPictures
from service.store.recent import Recent
from service.store.slots import Slots
from service.store.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import aiohttp
    from aiohttp import web

    from service.graph.tokens import TokenCalls
    from service.identities.pictures.fetch import PictureFetcher
    from service.receiving.intake import Intake
    from service.settings import Settings
    from service.store.database import Database
    from service.vault import Vault

    ExtraRoutes = Callable[[Keyring], Sequence[web.RouteDef]]


@dataclass(frozen=True)
class Parts:
    """What both halves of the service are built from."""

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
    picture_hosts: PictureHosts
    stored_pictures: StoredPictures
    pictures: Pictures
    pauses: Pauses
    connections: Connections
    requested: RequestedFetches
    sweeper: Sweeper
    replica: Replica
    budget: Budget
    tokens: Tokens
    token_watch: TokenWatch
    leaver: AccountLeaver
    retention: Retention


def build_parts(
    settings: Settings, vault: Vault, database: Database, fetcher: PictureFetcher
) -> Parts:
    """Build what needs no start."""
    ttl = timedelta(days=settings.profile_ttl_days)
    rules = Rules(
        ttl,
        settings.max_failures,
        pictures=settings.pictures,
        picture_origins=tuple(host for host in settings.picture_hosts if "://" in host),
    )
    metrics, board, known, memory = Metrics(), PauseBoard(), Known(), LookupMemory()
    queue = TurnQueue(settings.queue_capacity, board.holds)
    identities = Identities(database, rules)
    changes = Changes(identities.look_up, rules)
    hosts, stored_pictures = PictureHosts(settings.picture_hosts), StoredPictures(database)
    pictures = Pictures(
        fetcher.fetch,
        stored_pictures,
        hosts,
        lambda outcome: metrics.picture_copies[outcome].inc(),
        is_copying=settings.pictures == "copy",
    )
    pauses = Pauses(database)
    connections = Connections(database, vault, seals_plain=settings.seal_tokens)
    requested = RequestedFetches(identities, queue, rules, memory.evict)
    sweeper = Sweeper(identities.find_due, queue, settings.queue_capacity)
    slots, tokens = Slots(database, 1 / settings.graph_calls_per_second), Tokens(database)
    leavings, forgets = Leavings(database), partial(forget, known, memory, queue)
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
        picture_hosts=hosts,
        stored_pictures=stored_pictures,
        pictures=pictures,
        pauses=pauses,
        connections=connections,
        requested=requested,
        sweeper=sweeper,
        replica=Replica(
            connections,
            pauses,
            board,
            known,
            memory,
            queue,
            changes,
            pictures,
            on_change=requested.note_change,
            on_due=sweeper.wake,
        ),
        budget=Budget(slots, pauses, board, queue.hold),
        tokens=tokens,
        token_watch=TokenWatch(tokens, vault, seals=settings.seal_tokens),
        leaver=AccountLeaver(leavings, forgets),
        retention=Retention(leavings, forgets, settings.retention_days),
    )


def build_listener(parts: Parts) -> Listener:
    """Build what hears the notices of every replica."""
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
    """Build what journals the participants that an intake takes in."""
    return Arrivals(Journal(parts.database, parts.rules), parts.known, parts.queue, parts.metrics)


def build_status(parts: Parts, intake: Intake, forwarding: Forwarding | None) -> Status:
    """Build what reads the figures of `/status`."""
    return Status(
        parts.database,
        parts.counted,
        parts.pauses,
        parts.board,
        parts.queue,
        intake,
        parts.settings.graph_calls_per_second,
        Outlook(
            Recent(parts.database),
            parts.token_watch,
            parts.queue,
            intake,
            parts.settings.graph_calls_per_second,
            parts.metrics,
        ),
        Minutes(parts.metrics, parts.queue),
        forwarding.describe if forwarding else None,
    )


def build_receiver(
    parts: Parts,
    intake: Intake,
    status: Status,
    health: HealthRoutes,
    forwarding: Forwarding | None,
    token_calls: TokenCalls,
    extra_routes: ExtraRoutes | None,
) -> web.Application:
    """Build the receiving half; `extra_routes` are the sandbox's."""
    settings = parts.settings
    keyring = Keyring(
        secret_values(settings.inbox_api_keys),
        secret_values(settings.operator_api_keys),
        Guesses("keys", parts.metrics.wrong_keys.inc),
    )
    on_seen = parts.pictures.offer_seen
    lookups = Lookups(
        parts.identities, parts.memory, parts.queue, parts.rules, parts.metrics, on_seen
    )
    pages = Pages()
    application = build_application(
        keyring,
        _webhook_routes(parts, intake, forwarding),
        UserRoutes(lookups),
        _operator_routes(parts, intake, status),
        ConnectionRoutes(
            parts.connections,
            parts.replica,
            parts.leaver,
            TokenTrial(token_calls, parts.budget, parts.board.reason),
        ),
        PeopleRoutes(People(PeopleStore(parts.database), parts.identities, parts.rules)),
        ParticipantRoutes(intake, lambda: parts.replica.account_of, parts.metrics),
        health,
        EventRoutes(parts.changes),
        _picture_routes(parts, lookups),
        Grants(secret_values(settings.token_encryption_keys)),
        pages,
        ConsoleRoutes(
            pages,
            parts.rules,
            settings.picture_hosts if settings.pictures == "link" else (),
            has_sandbox=extra_routes is not None,
        ),
    )
    if extra_routes is not None:
        application.add_routes(extra_routes(keyring))
    return application


def build_forwarding(parts: Parts, session: aiohttp.ClientSession) -> Forwarding | None:
    """Build the forwarding of deliveries, where there are addresses to forward to."""
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


def _picture_routes(parts: Parts, lookups: Lookups) -> PictureRoutes:
    return PictureRoutes(
        lookups,
        parts.identities,
        parts.queue,
        parts.rules,
        picture_source(
            parts.settings.pictures,
            parts.pictures,
            parts.stored_pictures,
            parts.identities,
            parts.picture_hosts,
        ),
    )


def _webhook_routes(parts: Parts, intake: Intake, forwarding: Forwarding | None) -> WebhookRoutes:
    return WebhookRoutes(
        secret_values(parts.settings.meta_app_secrets),
        parts.settings.meta_verify_token.get_secret_value(),
        intake,
        lambda: parts.replica.account_of,
        parts.metrics,
        Guesses("verify tokens", parts.metrics.wrong_keys.inc),
        forwarding.intake if forwarding else None,
    )


def _operator_routes(parts: Parts, intake: Intake, status: Status) -> OperatorRoutes:
    return OperatorRoutes(
        parts.requested,
        parts.identities,
        Erasure(parts.identities, intake, parts.forget),
        status,
        parts.rules,
    )
