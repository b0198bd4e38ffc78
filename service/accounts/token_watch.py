"""Warnings about tokens, read every minute."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from service.accounts.token_checks import token_state
from service.errors import UnavailableError
from service.judgement.token_rules import TokenWarning, warnings

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.store.tokens import Tokens
    from service.vault import Vault

READ_EVERY_S = 60.0
MOST_SHOWN = 20

log = structlog.get_logger()


class TokenWatch:
    """Holds the warnings about all tokens for `/status` and the metrics."""

    def __init__(
        self,
        tokens: Tokens,
        vault: Vault,
        *,
        seals: bool,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tokens = tokens
        self._vault = vault
        self._seals = seals
        self._clock = clock
        self.warnings: list[TokenWarning] = []
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Read the warnings until cancelled."""
        while True:
            try:
                await self.read()
            except UnavailableError as error:
                log.warning("tokens not read", error=str(error))
            await asyncio.sleep(READ_EVERY_S)

    async def read(self, location_id: str | None = None) -> list[TokenWarning]:
        """Read the warnings of all locations or of one, the most urgent accounts first."""
        now, states = self._clock(), await self._tokens.list_states(location_id)
        self.warnings = [
            warning
            for token in states
            for warning in warnings(token_state(token, self._vault), now, seals=self._seals)
        ]
        self.counts = Counter(warning.kind for warning in self.warnings)
        return self.warnings

    def count(self, kind: str) -> int:
        """Count the warnings of a kind."""
        return self.counts[kind]

    def describe(self) -> dict[str, object]:
        """Return what to do about tokens, for at most 20 of them."""
        return {"total": len(self.warnings), "warnings": self.warnings[:MOST_SHOWN]}
