"""The HTTP server: the routes, the keys that each needs, and start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler

from service.http.auth import Keyring
from service.http.bodies import MOST_BODY_BYTES
from service.http.closing import Closing, accept_last_connections
from service.http.connections import ConnectionRoutes
from service.http.console import ConsoleRoutes
from service.http.cross_origin import let_other_origins_read, readable_routes
from service.http.events import EventRoutes
from service.http.grant_signing import Grants
from service.http.grants import GrantRoutes
from service.http.health import HealthRoutes
from service.http.operators import OperatorRoutes
from service.http.pages import Pages
from service.http.participants import ParticipantRoutes
from service.http.people import PeopleRoutes
from service.http.pictures import PictureRoutes
from service.http.problems import envelope
from service.http.tcp_limits import listen
from service.http.users import UserRoutes
from service.http.webhook import WebhookRoutes
from service.model.identity import API_PREFIX

PREFIX = API_PREFIX
_WEBHOOK, _USERS = f"{PREFIX}/webhook", f"{PREFIX}/users/"


def build_application(
    keyring: Keyring,
    webhook: WebhookRoutes,
    users: UserRoutes,
    operators: OperatorRoutes,
    connections: ConnectionRoutes,
    people: PeopleRoutes,
    participants: ParticipantRoutes,
    health: HealthRoutes,
    events: EventRoutes,
    pictures: PictureRoutes,
    grants: Grants,
    pages: Pages,
    console: ConsoleRoutes,
) -> web.Application:
    """Return the application with every route."""
    application = web.Application(middlewares=[envelope], client_max_size=MOST_BODY_BYTES)
    application.on_response_prepare.append(let_other_origins_read)
    application.on_shutdown.append(events.close)
    application[BUSY_ROUTES] = BusyRoutes(webhook.receive, keyring.for_inbox(users.one_by_path))
    application.add_routes(_meta_routes(webhook))
    application.add_routes(_inbox_routes(keyring, users, events, pictures, grants))
    application.add_routes(_operator_routes(keyring, operators, people, participants))
    application.add_routes(_connection_routes(keyring, connections))
    application.add_routes(_probe_routes(health))
    application.add_routes(_page_routes(keyring, pages, console))
    return application


def _meta_routes(webhook: WebhookRoutes) -> list[web.RouteDef]:
    return [
        web.get(f"{PREFIX}/webhook", webhook.handshake),
        web.post(f"{PREFIX}/webhook", webhook.receive),
    ]


def _inbox_routes(
    keyring: Keyring,
    users: UserRoutes,
    events: EventRoutes,
    pictures: PictureRoutes,
    grants: Grants,
) -> list[web.RouteDef]:
    inbox, browser = keyring.for_inbox, partial(keyring.for_inbox_or_grant, grants)
    return [
        *readable_routes(
            [
                ("users", f"{PREFIX}/users", browser(users.many)),
                ("events", f"{PREFIX}/users/events", browser(events.stream)),
                ("user", f"{PREFIX}/users/{{igUserId}}", browser(users.one)),
                ("picture", f"{PREFIX}/users/{{igUserId}}/picture", browser(pictures.show)),
            ]
        ),
        web.post(f"{PREFIX}/grants", inbox(GrantRoutes(grants).issue)),
    ]


def _operator_routes(
    keyring: Keyring,
    operators: OperatorRoutes,
    people: PeopleRoutes,
    participants: ParticipantRoutes,
) -> list[web.RouteDef]:
    operator = keyring.for_operator
    return [
        web.get(f"{PREFIX}/people", operator(people.list)),
        web.post(f"{PREFIX}/participants", operator(participants.announce)),
        web.delete(f"{PREFIX}/users/{{igUserId}}", operator(operators.erase)),
        web.post(f"{PREFIX}/users/erase", operator(operators.erase_many)),
        web.post(f"{PREFIX}/users/{{igUserId}}/refresh", operator(operators.refresh)),
        web.post(f"{PREFIX}/messages/backfill", operator(operators.backfill)),
        web.get(f"{PREFIX}/status", operator(operators.status)),
    ]


def _connection_routes(keyring: Keyring, connections: ConnectionRoutes) -> list[web.RouteDef]:
    operator, connection = keyring.for_operator, f"{PREFIX}/connections/{{igAccountId}}"
    return [
        web.get(f"{PREFIX}/connections", operator(connections.list_all)),
        web.put(connection, operator(connections.put)),
        web.patch(connection, operator(connections.change)),
        web.delete(f"{PREFIX}/pauses/{{scope}}", operator(connections.lift_pause)),
        web.delete(connection, operator(connections.delete)),
    ]


def _probe_routes(health: HealthRoutes) -> list[web.RouteDef]:
    return [
        web.get("/healthz", health.alive),
        web.get("/readyz", health.ready),
        web.get("/metrics", health.metrics),
    ]


def _page_routes(keyring: Keyring, pages: Pages, console: ConsoleRoutes) -> list[web.RouteDef]:
    return [
        web.get("/openapi.json", pages.openapi),
        web.get("/docs", pages.docs),
        web.get("/", _to_console),
        web.get("/console", console.page),
        web.get("/console/context", keyring.for_operator(console.context)),
        web.get("/static/{path:.+}", pages.file),
    ]


async def _to_console(_: web.Request) -> web.StreamResponse:
    return web.Response(status=HTTPStatus.FOUND, headers={"Location": "console"})


class BusyRoutes(NamedTuple):
    """The handlers of the two busiest routes."""

    receive: Handler
    look_up: Handler


BUSY_ROUTES = web.AppKey("busy_routes", BusyRoutes)


def _bypass_router(
    busy: BusyRoutes, otherwise: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Call the handlers of the busiest routes without aiohttp's router and middlewares.

    Both would cost 10 µs per request, a tenth of an acknowledgement or a lookup. The routes are in
    the router too: any unusual request reaches the same handlers that way.
    """

    def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        path = request.raw_path
        if not isinstance(request, web.Request) or "Expect" in request.headers:
            return otherwise(request)
        if path == _WEBHOOK and request.method == "POST":
            return envelope(request, busy.receive)
        is_lookup = path.startswith(_USERS) and path[len(_USERS) :].isdigit()
        if is_lookup and request.method == "GET" and "Origin" not in request.headers:
            return envelope(request, busy.look_up)
        return otherwise(request)

    return handle


@asynccontextmanager
async def serve(
    application: web.Application,
    host: str,
    port: int,
    shutdown_timeout_s: float,
    drain_s: float = 0.0,
    *,
    reuse_port: bool = False,
) -> AsyncIterator[int]:
    """Listen until the block ends, then finish the requests in progress; returns the port.

    If the block ends without an error, requests are answered for `drain_s` more seconds, and each
    answer closes its TCP connection. With `reuse_port`, other replicas listen on the same port and
    get every new TCP connection before this one closes.
    """
    closing = Closing()
    runner = web.AppRunner(
        application, access_log=None, handle_signals=False, shutdown_timeout=shutdown_timeout_s
    )
    await runner.setup()
    try:
        if runner.server is None:
            raise RuntimeError("aiohttp has not set up a server")
        if BUSY_ROUTES in application:
            runner.server.request_handler = _bypass_router(
                application[BUSY_ROUTES], runner.server.request_handler
            )
        listening = await listen(runner.server, host, port, closing, reuse_port=reuse_port)
        try:
            yield listening.sockets[0].getsockname()[1]
            closing.is_on = True
            await asyncio.sleep(drain_s)
            if reuse_port:
                await accept_last_connections(listening)
        finally:
            listening.close()
    finally:
        await runner.cleanup()
