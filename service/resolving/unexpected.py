"""Unexpected errors: one is its user's failure; five users in a row stop the process."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TypeVar

import structlog

from service.errors import UnavailableError, UserFault
from service.logs import TAG, traceback_without_values
from service.model.calls import GraphProblem
from service.queue import Hint
from service.resolving.settling import Settling, report
from service.store.outcomes import Claim

MOST_IN_A_ROW = 5

Result = TypeVar("Result")

log = structlog.get_logger()


class RepeatedUnexpectedError(Exception):
    """Too many users in a row had unexpected errors, so the fault is the service's."""


class UnexpectedErrors:
    """Charges unexpected errors to their users, and counts those users in a row."""

    def __init__(self, settling: Settling) -> None:
        self._settling = settling
        self._in_a_row: list[str] = []

    def note_success(self) -> None:
        """Reset the count: a user was resolved."""
        self._in_a_row.clear()

    async def run(self, hint: Hint, claim: Claim | None, work: Awaitable[Result]) -> Result | None:
        """Do a part of the work for one user; an unexpected error is the user's failure.

        Raises RepeatedUnexpectedError at the fifth user in a row.
        """
        started_at = time.monotonic()
        try:
            return await work
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - one user must not stop the others
            is_charged = claim is not None and await self._charge(claim, error, started_at)
            self._note(error, hint, is_charged=is_charged)
            return None

    async def _charge(self, claim: Claim, error: Exception, started_at: float) -> bool:
        """Charge a user; false if that fails too, in which case the claim lapses."""
        problem = GraphProblem("upstream_error", message=type(error).__name__)
        try:
            settled = await self._settling.blame(claim, UserFault(problem))
        except Exception as again:  # noqa: BLE001 - as above
            log.error("not charged", error=type(again).__name__)
            return False
        report(claim, settled, problem, started_at)
        return True

    def _note(self, error: Exception, hint: Hint, *, is_charged: bool) -> None:
        """Log the error. A charged user counts once in a row, since their retries end."""
        log.error(
            f"{TAG} unexpected error",
            ig_user_id=hint.ig_user_id,
            ig_account_id=hint.ig_account_id,
            error=type(error).__name__,
            traceback=traceback_without_values(error),
        )
        if not is_charged or hint.ig_user_id not in self._in_a_row:
            self._in_a_row.append(hint.ig_user_id)
        if len(self._in_a_row) >= MOST_IN_A_ROW:
            raise RepeatedUnexpectedError(
                f"unexpected errors for {MOST_IN_A_ROW} users in a row"
            ) from None
