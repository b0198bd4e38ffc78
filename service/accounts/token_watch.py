"""Warnings about tokens, read every minute."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from service.failing import attempt, log_unexpected
from service.judgement.token_rules import TokenState, TokenWarning, warnings
from service.store.tokens import Tokens

READ_EVERY_S = 60.0
MOST_SHOWN = 20

log = structlog.get_logger()


class TokenWatch:
    """Holds the warnings about all tokens for `/status` and the metrics."""

    def __init__(
        self,
        tokens: Tokens,
        *,
        seals: bool,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tokens = tokens
        self._seals = seals
        self._clock = clock
        self.warnings: list[TokenWarning] = []
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Read the warnings until cancelled."""
        while True:
            await attempt(self.read(), "tokens not read")
            await asyncio.sleep(READ_EVERY_S)

    async def read(self, location_id: str | None = None) -> list[TokenWarning]:
        """Read the warnings of all locations or of one, the most urgent accounts first."""
        now, states = self._clock(), await self._tokens.list_states(location_id)
        self.warnings = [warning for token in states for warning in self._judge(token, now)]
        self.counts = Counter(warning.kind for warning in self.warnings)
        return self.warnings

    def _judge(self, token: TokenState, now: datetime) -> list[TokenWarning]:
        """List the warnings about one token; one that can't be judged hides no other's."""
        try:
            return warnings(token, now, seals=self._seals)
        except Exception as error:  # noqa: BLE001 - a row that another application wrote
            log_unexpected("token not judged", error, ig_account_id=token.ig_account_id)
            return []

    def count(self, kind: str) -> int:
        """Count the warnings of a kind."""
        return self.counts[kind]

    def describe(self) -> dict[str, object]:
        """Return what to do about tokens, for at most 20 of them."""
        return {"total": len(self.warnings), "warnings": self.warnings[:MOST_SHOWN]}
