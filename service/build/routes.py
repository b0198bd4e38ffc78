"""Builds the HTTP side: routes, keys, grants, and the figures of `/status`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from service.accounts.token_trial import TokenTrial
from service.build import Parts
from service.erasure import Erasure
from service.graph.tokens import TokenCalls
from service.http.auth import Keyring
from service.http.connections import ConnectionRoutes
from service.http.console import ConsoleRoutes
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
from service.identities.lookups import Lookups
from service.identities.people import People
from service.receiving.forwarding.forwarding import Forwarding
from service.receiving.intake import Intake
from service.settings import secret_values
from service.store.people import PeopleStore
from service.store.recent import Recent

ExtraRoutes = Callable[[Keyring], Sequence[web.RouteDef]]


def build_status(parts: Parts, intake: Intake, forwarding: Forwarding | None) -> Status:
    """Build the reader of the figures of `/status`."""
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


def build_routes(
    parts: Parts,
    intake: Intake,
    status: Status,
    health: HealthRoutes,
    forwarding: Forwarding | None,
    token_calls: TokenCalls,
    extra_routes: ExtraRoutes | None,
) -> web.Application:
    """Build every route; `extra_routes` are the sandbox's."""
    settings = parts.settings
    keyring = _keyring(parts)
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
        _connection_routes(parts, token_calls),
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


def _keyring(parts: Parts) -> Keyring:
    return Keyring(
        secret_values(parts.settings.inbox_api_keys),
        secret_values(parts.settings.operator_api_keys),
        Guesses("keys", parts.metrics.wrong_keys.inc),
    )


def _connection_routes(parts: Parts, token_calls: TokenCalls) -> ConnectionRoutes:
    return ConnectionRoutes(
        parts.connections,
        parts.replica,
        parts.leaver,
        TokenTrial(token_calls, parts.budget, parts.board.reason),
    )


def _picture_routes(parts: Parts, lookups: Lookups) -> PictureRoutes:
    return PictureRoutes(
        lookups,
        parts.identities,
        parts.queue,
        parts.rules,
        picture_source(parts.settings.pictures, parts.pictures, parts.identities),
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
