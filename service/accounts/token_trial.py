"""Tests a token with Meta before it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.errors import GraphError, ServiceError, UnavailableError
from service.graph.budget import Budget
from service.graph.tokens import TokenCalls
from service.model.calls import GraphProblem, Trial

TRIED_WITHIN_S = 3.0
NO_ACCOUNT = ""  # has no pauses


class TokenRefusedError(ServiceError):
    """Meta reports that the token is dead; the message quotes Meta."""

    def __init__(self, problem: GraphProblem) -> None:
        codes = [f"code {problem.code}"] if problem.code is not None else []
        codes += [f"subcode {problem.subcode}"] if problem.subcode is not None else []
        said = problem.message or "the access token is not valid"
        super().__init__(f"Meta refuses this token: {said} ({', '.join(codes) or 'no code'})")


class TokenTrial:
    """Calls Meta's `/me` with a token, in a slot of the budget; both within 3 seconds.

    A pause caused by the account's old token does not prevent the call.
    """

    def __init__(
        self, calls: TokenCalls, budget: Budget, paused_by: Callable[[str], str | None]
    ) -> None:
        self._calls = calls
        self._budget = budget
        self._paused_by = paused_by

    async def try_token(self, ig_account_id: str, login: str, token: str) -> Trial:
        """Try a token; raises TokenRefusedError if it is dead.

        If Meta cannot be asked, or refuses for another reason, the token counts as not accepted
        yet; the next check decides.
        """
        try:
            async with asyncio.timeout(TRIED_WITHIN_S):
                if self._paused_by(ig_account_id) == "throttled":
                    return Trial(is_accepted=False)
                slot = await self._budget.wait_for_slot(NO_ACCOUNT)
                if slot is None or slot.paused_by is not None:
                    return Trial(is_accepted=False)
                username = await self._calls.try_token(login, token)
                return Trial(is_accepted=True, username=username)
        except (TimeoutError, UnavailableError):
            return Trial(is_accepted=False)
        except GraphError as error:
            if error.problem.reason == "token_invalid":
                raise TokenRefusedError(error.problem) from None
            return Trial(is_accepted=False)
