"""The intake without a broker: participants are committed to PostgreSQL before the ack."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from service.errors import UnavailableError
from service.model.contacts import Contact
from service.receiving.intake.arrivals import Arrivals

log = structlog.get_logger()


class DirectIntake:
    """Commits before it accepts; contacts known to be durable are accepted without PostgreSQL."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    async def accept(self, contacts: Sequence[Contact]) -> None:
        """Return once every contact is committed; raises UnavailableError within 3 seconds."""
        unknown = self._arrivals.sift(contacts)
        if not unknown:
            return
        try:
            await self._arrivals.journal(unknown)
        except UnavailableError:
            if not self._arrivals.are_durable(unknown):
                raise
            log.warning("accepted from memory: PostgreSQL is unavailable", users=len(unknown))

    async def settle(self) -> bool:
        """Return immediately: accepted contacts are already committed."""
        return False

    def describe(self) -> dict[str, str]:
        """Describe the kind of intake."""
        return {"kind": "postgres"}
