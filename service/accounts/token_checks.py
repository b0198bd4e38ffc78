"""Daily checks of access tokens, and their renewal before they expire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from service.errors import GraphError, SealError, UnavailableError, UnstorableError
from service.failing import attempt, log_unexpected
from service.graph.budget import Budget
from service.graph.tokens import RenewedToken, TokenCalls
from service.judgement.token_rules import CHECK_AGAIN_AFTER, CHECK_EVERY, INSTAGRAM, is_renewable
from service.model.calls import TokenFacts
from service.store.tokens import StoredToken, Tokens
from service.vault import Vault
from service.waiting import wait_at_most

LOOK_EVERY_S = 10.0
SOON_S = 5.0  # after a token has come, while its first users are named
_TOKEN_INVALID = "token_invalid"  # noqa: S105 - a reason

log = structlog.get_logger()


class CallPostponedError(Exception):
    """The budget has no slot, or the account or the app is paused."""


class TokenChecker:
    """Checks each connection once a day, on any replica.

    Facebook tokens are checked with debug_token, Instagram tokens with `/me`; an Instagram token
    that expires within 30 days is renewed. Every call takes a slot of the budget. `seals`: plain
    tokens are sealed by this service, so it also renews them.
    """

    def __init__(
        self,
        tokens: Tokens,
        calls: TokenCalls,
        budget: Budget,
        vault: Vault,
        *,
        seals: bool,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        soon_s: float | None = None,
    ) -> None:
        self._soon = timedelta(seconds=SOON_S if soon_s is None else soon_s)
        self._tokens = tokens
        self._calls = calls
        self._budget = budget
        self._vault = vault
        self._seals = seals
        self._clock = clock
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for tokens to check immediately: a connection has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Check what is due until cancelled."""
        while True:
            self._wake.clear()
            await attempt(self.check_due(), "tokens not checked")
            await attempt(self._tokens.forget_removed(), "checks of removed accounts not deleted")
            await wait_at_most(self._wake, LOOK_EVERY_S)

    async def check_due(self) -> int:
        """Check every token that is due, one after another; returns how many."""
        await self._tokens.notice_new(self._clock(), self._soon)
        checks = 0
        while (token := await self._tokens.claim(self._clock())) is not None:
            await self._check_one(token)
            checks += 1
        return checks

    async def _check_one(self, token: StoredToken) -> None:
        account = token.ig_account_id
        try:
            is_recorded = await self._check(token)
        except CallPostponedError:
            await self._postpone(account, CHECK_AGAIN_AFTER, None)
        except SealError as failure:
            await self._postpone(account, CHECK_EVERY, str(failure))
        except UnstorableError as failure:
            error = f"the result of the check can't be stored: {failure}"
            await self._postpone(account, CHECK_EVERY, error)
        except GraphError as failure:
            if failure.problem.reason == _TOKEN_INVALID:
                await self._mark_dead(token, _words(failure))
            await self._postpone(account, CHECK_AGAIN_AFTER, _words(failure))
        except UnavailableError:
            raise
        except Exception as failure:  # noqa: BLE001 - one account's row stops no other's check
            log_unexpected("token not checked", failure, ig_account_id=account)
            await self._postpone(account, CHECK_EVERY, f"unexpected {type(failure).__name__}")
        else:
            if is_recorded:
                await self._tokens.finish(account, self._clock())
            else:
                await self._postpone(account, timedelta(), None)

    async def _postpone(self, ig_account_id: str, wait: timedelta, error: str | None) -> None:
        if error is not None:
            log.warning("token not checked", ig_account_id=ig_account_id, error=error)
        await self._tokens.postpone(ig_account_id, self._clock() + wait, error)

    async def _check(self, token: StoredToken) -> bool:
        """Check one token and renew it in time; false if it was replaced in the meantime."""
        account = token.ig_account_id
        if token.pending is not None and await self._accept(token, token.pending):
            return True
        plain = self._vault.open(token.stored, account)
        facts = TokenFacts(token.expires_at)
        if token.login != INSTAGRAM:
            await self._take_slot(account)
            facts = await self._calls.inspect(token.login, plain)
        await self._take_slot(account)
        username = await self._calls.username(account, token.login, plain)
        is_recorded = await self._tokens.record(token, username, facts, self._clock())
        if is_recorded and is_renewable(token, self._clock(), seals=self._seals):
            await self._renew(token, plain)
        return is_recorded

    async def _renew(self, token: StoredToken, plain: str) -> None:
        """Renew a token; the new one is stored before anything else can fail."""
        await self._take_slot(token.ig_account_id)
        renewed = await self._calls.renew(plain)
        sealed = self._vault.seal(_with_end(renewed, self._clock()), token.ig_account_id)
        if await self._tokens.keep_pending(token.ig_account_id, sealed):
            await self._accept(token, sealed)

    async def _accept(self, token: StoredToken, pending: str) -> bool:
        """Replace the old token with the renewed one once `/me` accepts it."""
        account = token.ig_account_id
        kept = self._read_pending(pending, account)
        if kept is None:
            return False
        renewed, ends_at = kept
        await self._take_slot(account)
        try:
            await self._calls.try_token(INSTAGRAM, renewed)
        except GraphError as error:
            if error.problem.reason != _TOKEN_INVALID:
                raise
            log.error("a renewed token is refused", ig_account_id=account, error=_words(error))
            await self._tokens.drop_pending(account)
            return False
        sealed = self._vault.seal(renewed, account)
        is_stored = await self._tokens.store_renewed(token, sealed, ends_at, self._clock())
        log.info("token renewed", ig_account_id=account, expires_at=ends_at, stored=is_stored)
        return is_stored

    def _read_pending(self, pending: str, account: str) -> tuple[str, datetime | None] | None:
        """Read a renewed token and its end; one that can't be read leaves the old one in use."""
        try:
            return _read_end(self._vault.open(pending, account))
        except (SealError, ValueError, OverflowError, OSError) as error:
            log.error(
                "a renewed token can't be read: the old one stays in use",
                ig_account_id=account,
                error=type(error).__name__,
            )
            return None

    async def _mark_dead(self, token: StoredToken, error: str) -> None:
        if await self._tokens.mark_dead(token):
            log.error("token is dead", ig_account_id=token.ig_account_id, error=error)

    async def _take_slot(self, ig_account_id: str) -> None:
        slot = await self._budget.wait_for_slot(ig_account_id)
        if slot is None or slot.paused_by is not None:
            raise CallPostponedError


def _words(error: GraphError) -> str:
    problem = error.problem
    code = "" if problem.code is None else f" (code {problem.code})"
    return f"{problem.message or problem.reason}{code}"


def _with_end(renewed: RenewedToken, now: datetime) -> str:
    """Encode a pending token: its expiry as Unix seconds (0: unknown), a space, the token."""
    if renewed.expires_in_s is None:
        return f"0 {renewed.token}"
    return f"{(now + timedelta(seconds=renewed.expires_in_s)).timestamp():.0f} {renewed.token}"


def _read_end(kept: str) -> tuple[str, datetime | None]:
    """Read what `_with_end` wrote; ValueError, OverflowError or OSError for anything else."""
    seconds, _, token = kept.partition(" ")
    return token, datetime.fromtimestamp(int(seconds), UTC) if int(seconds) else None
