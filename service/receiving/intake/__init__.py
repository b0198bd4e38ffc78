"""Storing participants durably before a webhook is acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.model.contacts import Contact


class Intake(Protocol):
    """Accepts participants."""

    async def accept(self, contacts: Sequence[Contact]) -> None:
        """Return once every contact is durable; raises UnavailableError if that takes too long."""

    async def settle(self) -> bool:
        """Return once everything accepted so far is in the tables; raises UnavailableError.

        True if some of it may have been written after the call began.
        """

    def describe(self) -> dict[str, str]:
        """Describe the kind of intake and its state."""
