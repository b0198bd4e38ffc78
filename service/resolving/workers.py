"""The worker pool: take a hint, claim the user, wait for the budget, fetch, settle."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import structlog

from service.errors import GraphError, UnavailableError
from service.graph.budget import Budget, PauseBoard
from service.metrics import Metrics
from service.model.calls import GraphProblem
from service.queue import Hint, QueueClosed, TurnQueue
from service.resolving.profile_calls import ProfileCalls
from service.resolving.second_source import SecondSource
from service.resolving.settling import Settling, report
from service.resolving.unexpected import UnexpectedErrors
from service.store.claims import Claims
from service.store.conversations import ConversationNames
from service.store.outcomes import LOST, PAUSED, Claim, Settled
from service.store.slots import Reservation

BACK_OFF_S = 0.5
PAUSE_CHECK_S = 0.2
SECOND_LEASE = timedelta(seconds=120)  # covers the wait for a conversation slot, and the call
CLAIMED_AHEAD_S = 0.15  # of the budget: how long PostgreSQL can stall before slots are lost

log = structlog.get_logger()


class CallPostponedError(Exception):
    """The call is not allowed now; the claim is to be released."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Work(NamedTuple):
    """A claimed user, the hint, and when the work started, in monotonic seconds."""

    claim: Claim
    hint: Hint
    started_at: float


def lease_for(patience_s: float, timeout_s: float) -> timedelta:
    """Return how long a claim must last: two waits for the budget, two calls, and settling."""
    return timedelta(seconds=2 * patience_s + 2 * timeout_s + 6)


class Resolver:
    """Workers that fetch profiles within the budget, one call at a time for each user.

    `on_picture` gets the user and the URL of each picture in a profile.
    """

    def __init__(
        self,
        queue: TurnQueue,
        claims: Claims,
        names: ConversationNames,
        second: SecondSource | None,
        budget: Budget,
        board: PauseBoard,
        profiles: ProfileCalls,
        metrics: Metrics,
        on_picture: Callable[[str, str], None],
        workers: int,
        calls_per_second: float,
    ) -> None:
        self._queue = queue
        self._claims = claims
        self._settling = Settling(claims, names)
        self._second = second
        self._unexpected = UnexpectedErrors(self._settling)
        self._budget = budget
        self._board = board
        self._profiles = profiles
        self._metrics = metrics
        self._on_picture = on_picture
        self._workers = workers
        # Few claims wait for the budget at a time: the queue keeps the others in fair order.
        self._claim_limit = asyncio.Semaphore(
            min(workers, max(2, math.ceil(calls_per_second * CLAIMED_AHEAD_S)))
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._waits: set[asyncio.Timeout] = set()  # waits for a slot, which `drain` ends

    async def run(self) -> None:
        """Work until the queue closes; five users in a row with unexpected errors stop the pool."""
        async with asyncio.TaskGroup() as group:
            self._tasks = [
                group.create_task(self._work(), name=f"worker-{n}") for n in range(self._workers)
            ]

    async def drain(self, timeout_s: float) -> None:
        """Finish the calls in flight; after the timeout abandon the rest, whose claims lapse.

        Workers still waiting for a rate-limit slot release their claims immediately.
        """
        self._queue.close()
        for wait in self._waits:
            wait.reschedule(asyncio.get_running_loop().time())
        beside = set() if self._second is None else self._second.stop()
        running = [task for task in (*self._tasks, *beside) if not task.done()]
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            log.warning("abandoned calls in flight", workers=len(late))
            await asyncio.wait(late)

    async def _work(self) -> None:
        while True:
            try:
                await self._resolve_next()
            except QueueClosed:
                return
            except UnavailableError as error:
                log.warning("workers wait: PostgreSQL is unavailable", error=str(error))
                await asyncio.sleep(BACK_OFF_S)

    async def _resolve_next(self) -> None:
        async with self._claim_limit:
            hint = await self._next_hint()
            try:
                claim = await self._unexpected.run(hint, None, self._claim(hint))
                slot = None
                if claim is not None:
                    slot = await self._unexpected.run(hint, claim, self._slot(claim))
            except BaseException:
                self._queue.done(hint.ig_user_id)
                raise
        try:
            if claim is not None and slot is not None:
                await self._unexpected.run(hint, claim, self._resolve(claim, slot, hint))
        finally:
            if self._second is None or not self._second.is_asked(hint.ig_user_id):
                self._queue.done(hint.ig_user_id)

    async def _next_hint(self) -> Hint:
        while (paused_s := self._board.app_pause_s()) > 0:
            if self._queue.is_closed:
                raise QueueClosed
            await asyncio.sleep(min(paused_s, PAUSE_CHECK_S))
        return await self._queue.take()

    async def _claim(self, hint: Hint) -> Claim | None:
        started_at = time.monotonic()
        taken = await self._claims.take(hint.ig_account_id, hint.ig_user_id)
        if isinstance(taken, Claim):
            return taken
        if taken.verdict == "no_connection":
            report(hint, PAUSED, GraphProblem(taken.verdict), started_at)
        else:
            log.debug("nothing to do", ig_user_id=hint.ig_user_id, verdict=taken.verdict)
        return None

    async def _slot(self, claim: Claim) -> Reservation | None:
        """Wait for a slot; if the call is not allowed, release the claim and return None."""
        started_at = time.monotonic()
        try:
            return await self._wait_for_slot(claim, is_probe=False)
        except CallPostponedError as postponed:
            settled = await self._claims.release(claim)
            report(claim, settled, GraphProblem(postponed.reason), started_at)
            return None

    async def _wait_for_slot(self, claim: Claim, *, is_probe: bool) -> Reservation:
        """Wait for a slot; raises CallPostponedError if there is none or the service stops."""
        if self._queue.is_closed:
            raise CallPostponedError("stopping")
        wait = asyncio.timeout(None)
        try:
            async with wait:
                self._waits.add(wait)
                with self._metrics.budget_wait_seconds.time():
                    slot = await self._budget.wait_for_slot(
                        claim.ig_account_id, claim.ig_user_id, is_probe=is_probe
                    )
        except TimeoutError:
            raise CallPostponedError("stopping") from None
        finally:
            self._waits.discard(wait)
        if slot is None:
            raise CallPostponedError("budget")
        if slot.paused_by is not None:
            raise CallPostponedError(slot.paused_by)
        return slot

    async def _resolve(self, claim: Claim, slot: Reservation, hint: Hint) -> None:
        """Fetch a claimed user's profile and settle the outcome."""
        work = _Work(claim, hint, time.monotonic())
        problem: GraphProblem | None = None
        try:
            again = partial(self._wait_for_slot, claim, is_probe=slot.is_probe)
            profile = await self._profiles.fetch(claim, again)
        except CallPostponedError as postponed:
            problem = GraphProblem(postponed.reason)
            settled = await self._settling.release(claim)
        except GraphError as error:
            if self._second is not None and self._second.may_know(claim, error):
                self._second.start(claim, self._name(self._second, work, error))
                return
            problem = error.problem
            settled = await self._settling.blame(claim, error)
        else:
            settled = await self._settling.resolve(claim, profile)
            if profile.profile_pic_url and settled.outcome == "resolved":
                self._on_picture(claim.ig_user_id, profile.profile_pic_url)
        self._note(work, settled, problem)

    async def _name(self, second: SecondSource, work: _Work, refusal: GraphError) -> None:
        """Ask the second source for a user whose profile Meta refuses."""
        try:
            asked = self._ask(second, work, refusal)
            await self._unexpected.run(work.hint, work.claim, asked)
        except UnavailableError as error:
            log.warning("second source not asked: the user is retried later", error=str(error))
        finally:
            self._queue.done(work.hint.ig_user_id)

    async def _ask(self, second: SecondSource, work: _Work, refusal: GraphError) -> None:
        """Settle with the conversation's username; without one the profile's failure counts."""
        claim = work.claim
        if not await self._claims.renew(claim, SECOND_LEASE):
            return self._note(work, LOST, refusal.problem)
        username: str | None = None
        is_named = claim.fresh_source == "conversation"
        if not is_named:
            token = self._profiles.open_token(claim)
            slot = partial(self._wait_for_slot, claim, is_probe=False)
            with suppress(CallPostponedError):
                username = await second.find_username(claim, token, slot)
        if username is None and not is_named:
            settled = await self._settling.blame(claim, refusal)
            return self._note(work, settled, refusal.problem)
        settled = await self._settling.name(claim, username, refusal.problem)
        return self._note(work, settled, None, "conversation")

    def _note(
        self, work: _Work, settled: Settled, problem: GraphProblem | None, source: str | None = None
    ) -> None:
        """Count and log the outcome of a user."""
        if settled.outcome == "resolved":
            self._unexpected.note_success()
        waited_s = asyncio.get_running_loop().time() - work.hint.queued_at
        self._metrics.name_seconds.observe(waited_s)
        self._metrics.settled.labels(settled.outcome).inc()
        report(work.claim, settled, problem, work.started_at, source)
