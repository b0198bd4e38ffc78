"""Posts stored deliveries to the forward addresses until each answers 2xx."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta

import aiohttp
import structlog

from service.errors import SealError, UnavailableError
from service.failing import attempt, log_unexpected
from service.logs import SparingLog
from service.metrics import Metrics
from service.receiving.forwarding.sealing import BodySeal
from service.store.outbox import Backlog, Forward, Outbox
from service.waiting import wait_at_most

MOST_AT_A_TIME = 8
ANSWER_WITHIN_S = 10.0
_LEASE_MARGIN_S = 10.0
_POLL_S = 1.0
_GATHER_S = 0.01  # until several slots are free: a claim costs a transaction
_BACK_OFF_S = 0.5
_SETTLE_TRIES_S = (0.0, 0.2, 0.5, 1.0, 2.0)
_HOUSEKEEPING_EVERY_S = 60.0
_MEASURE_EVERY_S = (1.0, 30.0)

log = structlog.get_logger()


class Forwarder:
    """Posts to each address at most 8 deliveries at a time, started in the order of arrival.

    Addresses do not wait for each other. A failed delivery is retried after 1 s, doubling up to
    5 min, for 36 h. A delivery is posted at least once: if the process is killed after the answer,
    it is posted again.
    """

    def __init__(
        self,
        outbox: Outbox,
        seal: BodySeal,
        session: aiohttp.ClientSession,
        urls: Mapping[str, str],
        metrics: Metrics,
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self._outbox = outbox
        self._seal = seal
        self._session = session
        self._urls = urls
        self._metrics = metrics
        self._answer_within_s = answer_within_s
        self._lasting = timedelta(seconds=answer_within_s + _LEASE_MARGIN_S)
        self._wakes = {address: asyncio.Event() for address in urls}
        self._posting: dict[asyncio.Task[None], Forward] = {}
        self._log = SparingLog()
        self.backlogs: dict[str, Backlog] = {}

    def wake(self) -> None:
        """Look for deliveries immediately: one has been stored."""
        for event in self._wakes.values():
            event.set()

    async def run(self) -> None:
        """Post until cancelled; while PostgreSQL is unavailable, retry."""
        async with asyncio.TaskGroup() as tasks:
            for address in self._urls:
                tasks.create_task(self._serve(address), name=f"forward to {address}")
            tasks.create_task(
                _repeat(self._measure, "forwards not measured", self._pause_after_measure)
            )
            tasks.create_task(
                _repeat(self._expire, "forwards not expired", lambda _: _HOUSEKEEPING_EVERY_S)
            )

    async def drain(self, within_s: float) -> None:
        """Wait for the posts in flight, then release the rest to other replicas."""
        if self._posting:
            await asyncio.wait(self._posting, timeout=within_s)
        if left := dict(self._posting):
            for task in left:
                task.cancel()
            await asyncio.wait(left)
            log.warning(
                "forwards not finished at shutdown: they are posted again", forwards=len(left)
            )
            try:
                await self._outbox.release(list(left.values()))
            except UnavailableError as error:
                log.warning("forwards not released: their leases expire", error=str(error))

    async def _serve(self, address: str) -> None:
        wake = self._wakes[address]
        posting: set[asyncio.Task[None]] = set()
        while True:
            wake.clear()
            if posting and len(posting) > MOST_AT_A_TIME // 2:
                await asyncio.sleep(_GATHER_S)
            free = MOST_AT_A_TIME - len(posting)
            claimed = await self._claim(address, free) if free else []
            for forward in claimed:
                task = asyncio.create_task(self._forward(address, forward), name="forward")
                posting.add(task)
                self._posting[task] = forward
                task.add_done_callback(posting.discard)
                task.add_done_callback(lambda ended: self._posting.pop(ended, None))
                task.add_done_callback(lambda _: wake.set())
            if len(claimed) < free or not free:
                await wait_at_most(wake, _POLL_S)

    async def _claim(self, address: str, at_most: int) -> list[Forward]:
        lease = random.getrandbits(63)
        try:
            return await self._outbox.claim(address, at_most, lease, self._lasting, MOST_AT_A_TIME)
        except UnavailableError as error:
            self._log.warning("forwards not claimed", address=address, error=str(error))
        except Exception as error:  # noqa: BLE001 - other addresses, and later deliveries, go on
            log_unexpected("forwards not claimed", error, address=address)
        await asyncio.sleep(_BACK_OFF_S)
        return []

    async def _forward(self, address: str, forward: Forward) -> None:
        """Post one delivery and store the outcome."""
        started_at = time.monotonic()
        error = await self._post(address, forward)
        self._metrics.forwarded.labels("failed" if error else "taken").inc()
        for wait_s in _SETTLE_TRIES_S:
            await asyncio.sleep(wait_s)
            try:
                await self._settle(address, forward, error, time.monotonic() - started_at)
            except UnavailableError as failure:
                self._log.warning("forward not settled", address=address, error=str(failure))
            except Exception as failure:  # noqa: BLE001 - the lease expires, as if it were killed
                log_unexpected("forward not settled", failure, delivery_id=forward.delivery_id)
                return
            else:
                return
        log.warning("outcome of a forward not stored: it is posted again", address=address)

    async def _post(self, address: str, forward: Forward) -> str | None:
        """Post a delivery as Meta sent it; returns the error, None for 2xx."""
        try:
            headers = json.loads(forward.headers_json)
            body = self._seal.open(forward.sealed_body, forward.delivery_id)
            async with (
                asyncio.timeout(self._answer_within_s),
                self._session.post(
                    self._urls[address],
                    data=body,
                    headers={**headers, "X-Delivery-ID": forward.delivery_id},
                    skip_auto_headers=("Content-Type",),
                    allow_redirects=False,
                ) as response,
            ):
                return None if 200 <= response.status < 300 else f"HTTP {response.status}"  # noqa: PLR2004
        except TimeoutError:
            return f"no answer within {self._answer_within_s:g} s"
        except SealError as error:
            return str(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__
        except Exception as error:  # noqa: BLE001 - one delivery must not stop the others
            log_unexpected(
                "unexpected error while forwarding", error, delivery_id=forward.delivery_id
            )
            return type(error).__name__

    async def _settle(
        self, address: str, forward: Forward, error: str | None, took_s: float
    ) -> None:
        if error is None:
            await self._outbox.finish(forward)
            return
        postponed = await self._outbox.postpone(forward, error)
        if postponed is None:
            return
        write = log.error if postponed.is_set_aside else log.warning
        write(
            "forward set aside after 36 hours" if postponed.is_set_aside else "forward failed",
            address=address,
            delivery_id=forward.delivery_id,
            error=error,
            attempts=postponed.attempts,
            next_attempt_at=None if postponed.is_set_aside else postponed.due_at,
            duration_ms=round(took_s * 1000, 1),
        )

    async def _measure(self) -> float:
        """Count the waiting deliveries; returns how many seconds that took."""
        started_at = time.monotonic()
        found = await self._outbox.measure()
        self.backlogs = {backlog.address: backlog for backlog in found}
        return time.monotonic() - started_at

    def _pause_after_measure(self, took_s: float) -> float:
        least_s, most_s = _MEASURE_EVERY_S
        return min(most_s, max(least_s, 20 * took_s))

    async def _expire(self) -> None:
        while overdue := await self._outbox.set_aside_overdue():
            log.error(
                "forwards set aside: no replica posts to their address", forwards=len(overdue)
            )
        while deleted := await self._outbox.delete_set_aside():
            log.error("forwards deleted, 7 days after they were set aside", forwards=len(deleted))


async def _repeat(
    work: Callable[[], Coroutine[None, None, float | None]],
    failed: str,
    pause_s: Callable[[float], float],
) -> None:
    """Repeat a piece of work forever, with a pause that depends on its result."""
    while True:
        took_s = await attempt(work(), failed)
        await asyncio.sleep(pause_s(took_s or 0.0))
