"""Background work that continues after a failure."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import structlog

from service.errors import UnavailableError
from service.logs import traceback_without_values

Result = TypeVar("Result")

log = structlog.get_logger()


async def attempt(work: Awaitable[Result], failed: str, **fields: object) -> Result | None:
    """Await one piece of repeated work; if it fails, log `failed` and return None."""
    try:
        return await work
    except UnavailableError as error:
        log.warning(failed, error=str(error), **fields)
    except Exception as error:  # noqa: BLE001 - the work is repeated anyway
        log_unexpected(failed, error, **fields)
    return None


def log_unexpected(failed: str, error: Exception, **fields: object) -> None:
    """Log an unexpected error with its traceback, without values, which can be secret."""
    log.error(
        failed, error=type(error).__name__, traceback=traceback_without_values(error), **fields
    )
