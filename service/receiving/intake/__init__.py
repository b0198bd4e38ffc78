"""How participants become durable before a webhook is acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.model import Contact


class Intake(Protocol):
    """Takes participants in."""

    async def accept(self, contacts: Sequence[Contact]) -> None:
        """Return once every contact is durable; raises UnavailableError if it can't be in time."""

    async def settle(self) -> bool:
        """Return once all that was accepted before is in the tables; raises UnavailableError.

        Tells whether any of it may have got there only after the call began.
        """

    def describe(self) -> dict[str, str]:
        """Say what it is and how it does."""
