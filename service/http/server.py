"""The HTTP server: routes, who may use them, and limits that hold for every connection."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from service.http.problems import envelope
from service.http.webhook import MOST_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.http.auth import Keyring
    from service.http.health import HealthRoutes
    from service.http.operators import OperatorRoutes
    from service.http.users import UserRoutes
    from service.http.webhook import WebhookRoutes

PREFIX = "/api/social/instagram"
BACKLOG = 1024
KEEPALIVE_S = 75.0


def build_application(
    keyring: Keyring,
    webhook: WebhookRoutes,
    users: UserRoutes,
    operators: OperatorRoutes,
    health: HealthRoutes,
) -> web.Application:
    """Put every route in its place."""
    application = web.Application(middlewares=[envelope], client_max_size=MOST_BODY_BYTES)
    inbox, operator = keyring.for_inbox, keyring.for_operator
    application.add_routes(
        [
            web.get(f"{PREFIX}/webhook", webhook.handshake),
            web.post(f"{PREFIX}/webhook", webhook.receive),
            web.get(f"{PREFIX}/users", inbox(users.many)),
            web.get(f"{PREFIX}/users/{{igUserId}}", inbox(users.one)),
            web.delete(f"{PREFIX}/users/{{igUserId}}", operator(operators.erase)),
            web.post(f"{PREFIX}/users/{{igUserId}}/refresh", operator(operators.refresh)),
            web.post(f"{PREFIX}/messages/backfill", operator(operators.backfill)),
            web.get(f"{PREFIX}/connections", operator(operators.list_connections)),
            web.put(f"{PREFIX}/connections/{{igAccountId}}", operator(operators.put_connection)),
            web.delete(
                f"{PREFIX}/connections/{{igAccountId}}", operator(operators.delete_connection)
            ),
            web.get(f"{PREFIX}/status", operator(operators.status)),
            web.get("/healthz", health.alive),
            web.get("/readyz", health.ready),
            web.get("/metrics", health.metrics),
        ]
    )
    return application


@asynccontextmanager
async def serve(
    application: web.Application, host: str, port: int, shutdown_timeout_s: float
) -> AsyncIterator[int]:
    """Listen until the block ends; gives the port. Requests in progress are then finished.

    Bodies are passed on as received (no decompression): Meta signs those bytes.
    """
    runner = web.AppRunner(
        application,
        access_log=None,
        handle_signals=False,
        auto_decompress=False,
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=shutdown_timeout_s,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=BACKLOG)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
