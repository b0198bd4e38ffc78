"""Errors that nobody foresaw: one is its user's failure, five in a row stop the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from service.logs import TAG, traceback_without_values

if TYPE_CHECKING:
    from service.queue import Hint

MOST_IN_A_ROW = 5

log = structlog.get_logger()


class UnforeseenError(Exception):
    """So many users in a row have met errors that nobody foresaw: the fault is the service's."""


class Unforeseen:
    """Writes such errors with their traceback, and counts the users they happened to in a row."""

    def __init__(self) -> None:
        self._in_a_row: list[str] = []

    def note_success(self) -> None:
        """A user was resolved: the errors before were their users' own."""
        self._in_a_row.clear()

    def note(self, error: Exception, hint: Hint, *, is_charged: bool) -> None:
        """Write the error; raises UnforeseenError with the fifth user in a row.

        A user who is charged counts once, since its retries end; one who is not comes back.
        """
        log.error(
            f"{TAG} an error that nobody foresaw",
            ig_user_id=hint.ig_user_id,
            ig_account_id=hint.ig_account_id,
            error=type(error).__name__,
            traceback=traceback_without_values(error),
        )
        if not is_charged or hint.ig_user_id not in self._in_a_row:
            self._in_a_row.append(hint.ig_user_id)
        if len(self._in_a_row) >= MOST_IN_A_ROW:
            raise UnforeseenError(
                f"errors that nobody foresaw, for {MOST_IN_A_ROW} users in a row without a success"
            ) from None
