"""Background work that no single failure ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import structlog

from service.errors import UnavailableError
from service.logs import traceback_without_values

if TYPE_CHECKING:
    from collections.abc import Awaitable

Result = TypeVar("Result")

log = structlog.get_logger()


async def attempt(work: Awaitable[Result], failed: str, **fields: object) -> Result | None:
    """Do one piece of background work; where it fails, log `failed` and return None.

    For work that is repeated anyway: a row that cannot be read or stored must not end the task, and
    with it the process.
    """
    try:
        return await work
    except UnavailableError as error:
        log.warning(failed, error=str(error), **fields)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again later
        log_unforeseen(failed, error, **fields)
    return None


def log_unforeseen(failed: str, error: Exception, **fields: object) -> None:
    """Log an unforeseen error with its traceback, without the values that it may quote."""
    log.error(
        failed, error=type(error).__name__, traceback=traceback_without_values(error), **fields
    )
