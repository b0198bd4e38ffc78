"""The state of the service: for probes, Prometheus and operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiohttp import web

from service.errors import UnavailableError
from service.graph.budget import PauseBoard
from service.http.counted import CountedUsers
from service.http.history import Minutes
from service.http.outlook import Outlook, show_recent
from service.http.problems import json_response
from service.judgement.figures import Figures
from service.judgement.verdict import judge
from service.metrics import Metrics
from service.queue import TurnQueue
from service.receiving.intake import Intake
from service.store.database import Database
from service.store.pauses import Pause, Pauses

_PING_S = 1.0

log = structlog.get_logger()


class Status:
    """Reads the figures of `/status`; while PostgreSQL is unavailable, the last known ones."""

    def __init__(
        self,
        database: Database,
        counted: CountedUsers,
        pauses: Pauses,
        board: PauseBoard,
        queue: TurnQueue,
        intake: Intake,
        calls_per_second: float,
        outlook: Outlook,
        minutes: Minutes,
        describe_forwards: Callable[[], dict[str, object]] | None = None,
    ) -> None:
        self._database = database
        self._counted = counted
        self._pauses = pauses
        self._board = board
        self._queue = queue
        self._intake = intake
        self._calls_per_second = calls_per_second
        self.outlook = outlook
        self.minutes = minutes
        self._describe_forwards = describe_forwards
        self._wait = (0.0, 1.0)

    async def read(self) -> dict[str, Any]:
        """Return the body of `/status`."""
        pauses = self._board.listed
        try:
            self._wait = await self._pauses.read_wait()
            pauses = [*await self._pauses.read(), *self._board.unconnected]
            postgres = "ok"
        except UnavailableError:
            postgres = "unavailable"
        figures = await self.outlook.figures()
        return {
            "verdict": judge(figures),
            "recent": show_recent(figures),
            "queue": {
                "depth": self._queue.depth,
                "oldestSeconds": round(self._queue.oldest_s(), 3),
                "inFlight": self._queue.in_flight,
            },
            "budget": {
                "perSecond": self._calls_per_second,
                "waitSeconds": round(self._wait[0], 3),
                "pace": self._wait[1],
            },
            "pauses": _shown(pauses, figures),
            "identities": self._counted.by_state,
            "postgres": postgres,
            "intake": describe_intake(self._intake, postgres),
            "forwards": self._describe_forwards() if self._describe_forwards else None,
            "tokens": self.outlook.token_watch.describe(),
            "history": self.minutes.read(),
        }

    async def ping(self) -> str:
        """Return "ok" if PostgreSQL accepts writes, else "unavailable"."""
        try:
            await self._database.check_writable(timeout_s=_PING_S)
        except UnavailableError:
            return "unavailable"
        return "ok"


class HealthRoutes:
    """Answers probes and Prometheus. `is_draining` is set when the service begins to stop."""

    def __init__(self, status: Status, intake: Intake, metrics: Metrics) -> None:
        self._status = status
        self._intake = intake
        self._metrics = metrics
        self.is_draining = False

    async def alive(self, _: web.Request) -> web.Response:
        """Answer 200."""
        return json_response({"status": "ok"})

    async def ready(self, _: web.Request) -> web.Response:
        """Answer 200 until the service drains; the body shows PostgreSQL and the intake."""
        postgres = await self._status.ping()
        return json_response(
            {
                "status": "draining" if self.is_draining else "ready",
                "postgres": postgres,
                "intake": describe_intake(self._intake, postgres),
            },
            status=503 if self.is_draining else 200,
        )

    async def metrics(self, _: web.Request) -> web.Response:
        """Publish the metrics as Prometheus text."""
        return web.Response(
            body=self._metrics.render(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def describe_intake(intake: Intake, postgres: str) -> dict[str, str]:
    """Describe the intake and its state; without a broker the state is that of PostgreSQL."""
    return {"state": postgres, **intake.describe()}


def _shown(pauses: Sequence[Pause], figures: Figures) -> list[dict[str, object]]:
    """Return pauses with the number of users that each delays, 0 if that was not counted."""
    held = {pause.scope: pause.held for pause in figures.pauses}
    return [
        {
            "scope": pause.scope,
            "until": pause.until,
            "reason": pause.reason,
            "waiting": held.get(pause.scope, 0),
        }
        for pause in pauses
    ]
