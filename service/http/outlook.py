"""The figures of the last hour and this replica's verdict on them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import structlog

from service.accounts.token_watch import TokenWatch
from service.errors import UnavailableError
from service.failing import attempt, log_unexpected
from service.judgement.figures import AccountWriters, Figures, Writers
from service.judgement.verdict import LEVELS, Verdict, judge, worst_first
from service.metrics import Metrics
from service.queue import TurnQueue
from service.receiving.intake import Intake
from service.store.recent import Recent

GOOD_FOR_S = 2.0  # the tables are read at most this often
JUDGE_EVERY_S = 15.0
MOST_ACCOUNTS = 20
BROKER = "jetstream"

log = structlog.get_logger()


class Outlook:
    """Reads the figures at most every two seconds, and adds those of this replica."""

    def __init__(
        self,
        recent: Recent,
        token_watch: TokenWatch,
        queue: TurnQueue,
        intake: Intake,
        calls_per_second: float,
        metrics: Metrics,
    ) -> None:
        self._recent = recent
        self.token_watch = token_watch
        self._queue = queue
        self._intake = intake
        self._calls_per_second = calls_per_second
        self._metrics = metrics
        self._figures = Figures(Writers())
        self._is_up = True
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def figures(self) -> Figures:
        """Return the figures; while PostgreSQL is unavailable, the last known ones."""
        async with self._reading:
            if time.monotonic() - self._read_at >= GOOD_FOR_S:
                await self._read()
        described = self._intake.describe()
        return msgspec.structs.replace(
            self._figures,
            token_warnings=self.token_watch.warnings,
            is_postgres_up=self._is_up,
            is_broker_up=described["kind"] != BROKER or described.get("state") == "ok",
            oldest_wait_s=self._queue.oldest_s(),
            queued=self._queue.depth,
            calls_per_second=self._calls_per_second,
        )

    async def _read(self) -> None:
        try:
            self._figures = await self._recent.read()
            self._is_up = True
        except UnavailableError as error:
            self._is_up = False
            log.warning("recent writers not read", error=str(error))
        except Exception as error:  # noqa: BLE001 - an unreadable row must not end the process
            log_unexpected("recent writers not read", error)
        self._read_at = time.monotonic()

    async def run(self) -> None:
        """Publish the verdict to the metrics periodically, until cancelled."""
        while True:
            await attempt(self._judge(), "no verdict")
            await asyncio.sleep(JUDGE_EVERY_S)

    async def _judge(self) -> None:
        figures = await self.figures()
        self._publish(figures, judge(figures))

    def _publish(self, figures: Figures, verdict: Verdict) -> None:
        self._metrics.verdict.set(LEVELS.index(verdict.level))
        everybody = figures.everybody
        for state, number in (
            ("named", everybody.named),
            ("waiting", everybody.waiting),
            ("nameless", everybody.without_name),
        ):
            self._metrics.recent.labels(state).set(number)


def show_recent(figures: Figures) -> dict[str, Any]:
    """Return the figures of recent writers for `/status`: in total, then the worst accounts."""
    return {
        **_shown(figures.everybody),
        "accounts": [
            _shown_account(each) for each in worst_first(figures.accounts)[:MOST_ACCOUNTS]
        ],
    }


def _shown_account(account: AccountWriters) -> dict[str, object]:
    named = {
        "igAccountId": account.ig_account_id,
        "username": account.username,
        "locationId": account.location_id,
    }
    return named | _shown(account)


def _shown(writers: Writers) -> dict[str, object]:
    return {
        "wrote": writers.wrote,
        "named": writers.named,
        "waiting": writers.waiting,
        "nameless": writers.nameless,
    }
