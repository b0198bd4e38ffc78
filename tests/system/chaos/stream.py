"""A bounded open-loop stream of signed webhooks, retried like Meta's, and its results."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import aiohttp

from sandbox import samples
from tests.system.chaos.processes import Service
from tests.system.chaos.rig import ACCOUNTS, Answer, Rig, message_from

MOST_UNDER_WAY = 2000
WAITS_S = (0.2, 0.5, 1.0, 2.0, 3.0)
OK, UNAVAILABLE = 200, 503
NOT_ANSWERED = "not answered"
TOO_SLOW = "no answer in time"
_GRAPH_TOLD_WITHIN_S = 0.5

Participant = tuple[str, str]


@dataclass
class Ledger:
    """The sent deliveries and their answers; times are monotonic seconds.

    `new_acks` are for deliveries with new senders only, `latest_new` for one at its first try.
    """

    acked: dict[Participant, float] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    lookups: Counter[str] = field(default_factory=Counter)
    latest_new: float = 0.0
    new_acks: list[float] = field(default_factory=list)
    slowest_s: float = 0.0
    sent: int = 0
    resent: int = 0
    left_out: int = 0
    waiting: int = 0

    def longest_gap_s(self, began_at: float, ended_at: float) -> float:
        """Return the longest time between two times without a new sender acknowledged."""
        acks = [at for at in self.new_acks if began_at < at < ended_at]
        moments = [began_at, *acks, ended_at]
        return max(later - at for at, later in pairwise(moments))

    def wrong_answers(self) -> dict[str, int]:
        """Count the answers that must not occur, of deliveries and lookups."""
        allowed = {str(OK), str(UNAVAILABLE), NOT_ANSWERED}
        both = self.answers + self.lookups
        return {answer: count for answer, count in both.items() if answer not in allowed}


class Stream:
    """Sends webhooks of new and known senders, and lookups, at a given rate each second.

    Open loop: each delivery is sent at its time, whatever happened to earlier ones. A delivery is
    repeated unchanged until it is acknowledged. A share `withholding` of the new senders withhold
    their profiles: Graph shows their usernames in conversations only.
    """

    def __init__(self, rig: Rig, random: Random, rate: float, withholding: float = 0.0) -> None:
        self.ledger = Ledger()
        self._rig = rig
        self._random = random
        self._rate = rate
        self._withholding = withholding
        self._next_user = random.randrange(10**15, 2 * 10**15)
        self._tasks: set[asyncio.Task[None]] = set()
        self._departure = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Ledger]:
        """Send until the block ends."""
        tasks = [asyncio.create_task(self._deliveries()), asyncio.create_task(self._lookups())]
        try:
            yield self.ledger
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def settle(self, within_s: float) -> None:
        """Wait until all deliveries are acknowledged, or have taken too long."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within_s)
            for task in late:
                task.cancel()

    async def first_new_ack_after(self, moment: float, within_s: float) -> float | None:
        """Wait until a new sender is acknowledged at the first try; returns the time."""
        deadline = time.monotonic() + within_s
        while self.ledger.latest_new <= moment:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.02)
        return self.ledger.latest_new

    async def a_delivery_left(self) -> None:
        """Return when the next delivery is sent for the first time."""
        await self._departure.wait()

    async def _deliveries(self) -> None:
        async for _ in self._beats(self._rate):
            if len(self._tasks) >= MOST_UNDER_WAY:
                self.ledger.left_out += 1
                continue
            self._begin(self._deliver(self._new_delivery()))

    async def _lookups(self) -> None:
        async for _ in self._beats(self._rate / 4):
            if self.ledger.acked and len(self._tasks) < MOST_UNDER_WAY:
                user = self._random.choice(list(self.ledger.acked)[-500:])[1]
                self._begin(self._look_up(user))

    async def _beats(self, rate: float) -> AsyncIterator[None]:
        """Yield at random moments, `rate` a second on average, even if earlier work still runs."""
        at = time.monotonic()
        while True:
            at += self._random.expovariate(rate)
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            yield

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _new_delivery(self) -> tuple[bytes, list[Participant], bool]:
        """Return a delivery of one to five senders, new or known, some of them in echoes."""
        account = self._random.choice(ACCOUNTS)
        is_new = self._random.random() < 0.25 or not self.ledger.acked
        if is_new:
            users = [self._make_up() for _ in range(self._random.choice((1, 1, 1, 2, 5)))]
        else:
            account, user = self._random.choice(list(self.ledger.acked)[-2000:])
            users = [user]
        if self._random.random() < 0.1:
            items = [samples.echo(account, user) for user in users]
            body = samples.delivery(samples.entry(account, *items))
        else:
            body = message_from(*users, account=account)
        return body, [(account, user) for user in users], is_new

    def _make_up(self) -> str:
        self._next_user += 1
        return str(self._next_user)

    async def _deliver(self, delivery: tuple[bytes, list[Participant], bool]) -> None:
        body, participants, is_new = delivery
        if is_new and self._random.random() < self._withholding:
            await self._withhold(participants)
        self.ledger.sent += 1
        self._departure.set()
        self._departure = asyncio.Event()
        self.ledger.waiting += 1
        tries = 0
        while await self._answer(self._rig.deliver(body, self._some_service())) != str(OK):
            await asyncio.sleep(WAITS_S[min(tries, len(WAITS_S) - 1)])
            tries += 1
            self.ledger.resent += 1
        self.ledger.waiting -= 1
        now = time.monotonic()
        self.ledger.acked.update(dict.fromkeys(participants, now))
        if is_new:
            self.ledger.new_acks.append(now)
        if is_new and not tries:
            self.ledger.latest_new = now

    async def _withhold(self, participants: list[Participant]) -> None:
        """Make Graph refuse the profiles; has no effect while Graph is broken."""
        for account, user in participants:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(_GRAPH_TOLD_WITHIN_S):
                    await self._rig.withhold_profile(user, account)

    async def _answer(self, asked: Awaitable[Answer]) -> str:
        answer = await self._judge(asked)
        self.ledger.answers[answer] += 1
        return answer

    async def _look_up(self, user: str) -> None:
        asked = self._rig.look_up(user, self._some_service())
        self.ledger.lookups[await self._judge(asked)] += 1

    async def _judge(self, asked: Awaitable[Answer]) -> str:
        began_at = time.monotonic()
        try:
            answer = await asked
        except TimeoutError:
            return TOO_SLOW
        except (aiohttp.ClientError, OSError):
            return NOT_ANSWERED
        self.ledger.slowest_s = max(self.ledger.slowest_s, time.monotonic() - began_at)
        if answer.status == UNAVAILABLE and "Retry-After" not in answer.headers:
            return "503 without Retry-After"
        return str(answer.status)

    def _some_service(self) -> Service:
        """Choose a service that is not known to be down, as a load balancer does."""
        there = [service for service in self._rig.services if service.is_wanted]
        return self._random.choice(there or self._rig.services)
