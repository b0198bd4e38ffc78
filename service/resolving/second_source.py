"""The second source of a name: the user's conversation, used if Meta refuses the profile.

Conversation calls have their own limits, so workers do not wait for them: each user has a separate
task, and the queue skips an account that has many of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from service.errors import AccountFault, GraphError, UnavailableError, UnclearFault, UserFault
from service.graph.budget import Budget
from service.graph.conversation import ConversationClient
from service.graph.usage import Usage
from service.logs import TAG
from service.store.conversations import INTERVAL, ConversationLimits, Slot
from service.store.outcomes import Claim
from service.waiting import wait_at_most

REFUSALS = frozenset({"consent_required", "not_found", "refused"})
MANY = 40  # waiting users of one account; at this number the queue skips the account
FOR_A_SLOT_S = 0.2  # how long before its slot a call starts to wait for the budget
NEAR_FULL_PERCENT = 95.0

log = structlog.get_logger()


class SecondSource:
    """Reads usernames from conversations: 2 calls a second per account, each within the budget.

    `hold` makes the queue skip an account for some seconds. `count` gets each call's outcome.
    """

    def __init__(
        self,
        client: ConversationClient,
        limits: ConversationLimits,
        budget: Budget,
        hold: Callable[[str, float], None],
        count: Callable[[str], None],
    ) -> None:
        self._client = client
        self._limits = limits
        self._budget = budget
        self._hold = hold
        self._count = count
        self._stopping = asyncio.Event()
        self._asked: dict[str, set[str]] = {}  # the users of each account
        self._turns: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def may_know(self, claim: Claim, refusal: GraphError) -> bool:
        """Return whether to ask: the profile is refused; the user wrote lately and has no name."""
        return (
            isinstance(refusal, UserFault)
            and refusal.problem.reason in REFUSALS
            and claim.is_recent
            and claim.fresh_source != "profile"
        )

    def is_asked(self, ig_user_id: str) -> bool:
        """Return whether this replica is asking for the user now."""
        return any(ig_user_id in users for users in self._asked.values())

    def start(self, claim: Claim, work: Coroutine[None, None, None]) -> None:
        """Run one user's work as a separate task."""
        users = self._asked.setdefault(claim.ig_account_id, set())
        users.add(claim.ig_user_id)
        if len(users) >= MANY:
            self._hold(claim.ig_account_id, INTERVAL.total_seconds())  # one call's time
        task = asyncio.create_task(work, name="second source")
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._end(claim, task))

    def stop(self) -> set[asyncio.Task[None]]:
        """Stop waiting for slots; returns the tasks that are not done."""
        self._stopping.set()
        return set(self._tasks)

    async def find_username(
        self, claim: Claim, token: str, take_slot: Callable[[], Awaitable[object]]
    ) -> str | None:
        """Ask for a user's username; None if it is not shown or the call is not allowed now.

        `take_slot` waits for the budget.
        """
        turn = self._turns.setdefault(claim.ig_account_id, asyncio.Lock())
        async with turn:  # one at a time: the next slot is taken once the previous one is used
            slot = await self._slot(claim)
            if slot is None:
                return None
            await take_slot()
        return await self._call(claim, token, slot)

    async def _slot(self, claim: Claim) -> Slot | None:
        slot = await self._limits.take_slot(claim.ig_account_id)
        if isinstance(slot, Slot):
            wait_s = max(0.0, slot.wait_s - FOR_A_SLOT_S)
            is_stopping = await wait_at_most(self._stopping, wait_s)
            return None if is_stopping else slot
        log.info(
            f"{TAG} conversation not asked",
            ig_user_id=claim.ig_user_id,
            ig_account_id=claim.ig_account_id,
            reason=slot,
        )
        return None

    async def _call(self, claim: Claim, token: str, slot: Slot) -> str | None:
        outcome = "unforeseen"
        try:
            username, usage = await self._client.fetch_username(
                claim.ig_user_id, claim.login, token
            )
            outcome = "named" if username else "nameless"
        except GraphError as error:
            outcome = error.problem.reason
            await self._apply_refusal(claim, error)
            return None
        finally:
            self._count(outcome)
        await self._apply_usage(claim.ig_account_id, usage, slot)
        return username

    async def _apply_refusal(self, claim: Claim, error: GraphError) -> None:
        """Pause conversation calls if the fault is not the user's; profile calls continue."""
        problem = error.problem
        log.warning(
            f"{TAG} conversation refused",
            ig_user_id=claim.ig_user_id,
            ig_account_id=claim.ig_account_id,
            **problem.log_fields(),
        )
        if isinstance(error, AccountFault | UnclearFault):
            hold_s = error.hold_s if isinstance(error, AccountFault) else None
            await self._pause(claim.ig_account_id, problem.reason, hold_s)

    async def _apply_usage(self, ig_account_id: str, usage: Usage, slot: Slot) -> None:
        """Slow down the pools that the headers name: the app, and the account's conversations."""
        try:
            if slot.was_paused:
                await self._limits.forget_strikes(ig_account_id)
            self._budget.note_usage(ig_account_id, Usage(app=usage.app))
            await self._budget.act_on_usage(ig_account_id)
        except UnavailableError as error:
            log.warning("usage not applied", error=str(error))
        if usage.account >= NEAR_FULL_PERCENT:
            await self._pause(ig_account_id, "throttled", usage.regain_s)

    async def _pause(self, ig_account_id: str, reason: str, hold_s: float | None) -> None:
        try:
            await self._limits.pause(ig_account_id, reason, hold_s)
        except UnavailableError as error:
            log.warning("conversation calls not paused", error=str(error))

    def _end(self, claim: Claim, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        users = self._asked[claim.ig_account_id]
        users.discard(claim.ig_user_id)
        if not users:
            del self._asked[claim.ig_account_id]
            self._turns.pop(claim.ig_account_id, None)
