"""The routes for Meta: the handshake and the deliveries."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus

import structlog
from aiohttp import web

from service.errors import PayloadError, SignatureError, UnavailableError
from service.http.answers import Answer
from service.http.bodies import read_body
from service.http.guesses import Guesses
from service.http.heads import REQUEST_ID
from service.http.problems import ProblemError, bad_request, unavailable
from service.logs import SparingLog
from service.metrics import Metrics
from service.receiving.forwarding.intake import ForwardIntake
from service.receiving.intake import Intake
from service.receiving.webhook import Delivery, claimed_signature, parse_delivery, verify_signature

MOST_REASONS = 20

log = structlog.get_logger()


class WebhookRoutes:
    """Answers Meta. `account_of` gives the current directory of connected ids."""

    def __init__(
        self,
        app_secrets: Sequence[str],
        verify_token: str,
        intake: Intake,
        account_of: Callable[[], Mapping[str, str]],
        metrics: Metrics,
        guesses: Guesses,
        forwarding: ForwardIntake | None = None,
    ) -> None:
        self._app_secrets = [secret.encode() for secret in app_secrets]
        self._verify_token = verify_token.encode()
        self._intake = intake
        self._account_of = account_of
        self._guesses = guesses
        self._forwarding = forwarding
        self._refusals = SparingLog()
        self._contacts = metrics.contacts
        self._skipped = metrics.skipped
        self._ack_seconds = metrics.ack_seconds
        self._answers = {
            status: metrics.deliveries.labels(str(status))
            for status in (200, 400, 401, 408, 413, 503)
        }

    async def handshake(self, request: web.Request) -> web.Response:
        """Return the challenge as plain text if the verify token is correct."""
        query = request.query
        given = query.get("hub.verify_token", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._verify_token):
            self._guesses.refuse(request.remote)
            raise ProblemError(HTTPStatus.FORBIDDEN, "The verify token does not match.")
        return web.Response(
            text=query.get("hub.challenge", ""),
            content_type="text/plain",
            headers={"X-Content-Type-Options": "nosniff"},
        )

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Acknowledge a delivery once every participant in it is stored."""
        started_at = time.perf_counter()
        try:
            await self._accept(request)
        except ProblemError as error:
            self._answers[error.status].inc()
            raise
        self._answers[200].inc()
        self._ack_seconds.observe(time.perf_counter() - started_at)
        return Answer(b"EVENT_RECEIVED", "text/plain; charset=utf-8")

    async def _accept(self, request: web.Request) -> None:
        try:
            signature = claimed_signature(request.headers.getall("X-Hub-Signature-256", []))
            body = await read_body(request)
            verify_signature(body, signature, self._app_secrets)
            delivery = parse_delivery(body, datetime.now(UTC), self._account_of())
        except SignatureError as error:
            raise ProblemError(HTTPStatus.UNAUTHORIZED, f"{error}.") from None
        except PayloadError as error:
            raise bad_request(f"{error}.") from None
        if delivery.skipped:
            self._log_skipped(delivery, request[REQUEST_ID])
        if delivery.contacts:
            self._contacts.inc(len(delivery.contacts))
        if delivery.contacts or self._forwarding is not None:
            await self._make_durable(delivery, body, request.headers)

    async def _make_durable(
        self, delivery: Delivery, body: bytes, headers: Mapping[str, str]
    ) -> None:
        try:
            if self._forwarding is None:
                await self._intake.accept(delivery.contacts)
            else:
                await asyncio.gather(
                    self._forwarding.store(body, headers, delivery.contacts),
                    self._intake.accept(delivery.contacts),
                )
        except UnavailableError as error:
            self._refusals.warning(
                "not acknowledged", users=len(delivery.contacts), error=str(error)
            )
            detail = "The delivery could not be made durable in time; send it again."
            raise unavailable(detail) from None

    def _log_skipped(self, delivery: Delivery, request_id: str) -> None:
        self._skipped.inc(delivery.skipped.total())
        is_malformed = any(reason.startswith("malformed") for reason in delivery.skipped)
        write = log.warning if is_malformed else log.info
        write("items without a participant", skipped=_most(delivery.skipped), request_id=request_id)


def _most(skipped: Counter[str]) -> dict[str, int]:
    """Limit the number of reasons, since some of them quote the delivery."""
    most = dict(skipped.most_common(MOST_REASONS))
    others = skipped.total() - sum(most.values())
    return most | {"others": others} if others else most
