"""A worker's profile call: opens the token, retries once, counts, and applies usage headers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from service.errors import AccountFault, GraphError, NobodysFault, SealError, UnavailableError
from service.graph.budget import Budget
from service.graph.client import GraphClient
from service.metrics import Metrics
from service.model.calls import GraphProblem, Profile
from service.store.outcomes import Claim
from service.vault import Vault

SECOND_TRY_S = (0.8, 1.2)

log = structlog.get_logger()


class ProfileCalls:
    """Makes profile calls with the token of each claim."""

    def __init__(self, graph: GraphClient, budget: Budget, vault: Vault, metrics: Metrics) -> None:
        self._graph = graph
        self._budget = budget
        self._vault = vault
        self._metrics = metrics

    def open_token(self, claim: Claim) -> str:
        """Decrypt the claim's token; raises AccountFault if no configured key can."""
        try:
            return self._vault.open(claim.sealed_token, claim.ig_account_id)
        except SealError as error:
            log.error(
                "a token can't be opened", ig_account_id=claim.ig_account_id, error=str(error)
            )
            raise AccountFault(GraphProblem("token_unreadable")) from None

    async def fetch(self, claim: Claim, take_slot: Callable[[], Awaitable[object]]) -> Profile:
        """Fetch a profile; a NobodysFault is retried once.

        `take_slot` waits for the retry's slot in the budget.
        """
        token = self.open_token(claim)
        try:
            return await self._call(claim, token)
        except NobodysFault:
            await asyncio.sleep(random.uniform(*SECOND_TRY_S))  # noqa: S311 - not a secret
        await take_slot()
        return await self._call(claim, token)

    async def _call(self, claim: Claim, token: str) -> Profile:
        outcome = "unforeseen"
        try:
            with self._metrics.call_seconds.time():
                profile = await self._graph.fetch_profile(
                    claim.ig_user_id, claim.ig_account_id, claim.login, token
                )
            outcome = "ok"
        except GraphError as error:
            outcome = error.problem.reason
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._metrics.calls[outcome].inc()
            await self._act_on_usage(claim.ig_account_id)
        return profile

    async def _act_on_usage(self, ig_account_id: str) -> None:
        try:
            await self._budget.act_on_usage(ig_account_id)
        except UnavailableError as error:
            log.warning("usage not applied", error=str(error))
