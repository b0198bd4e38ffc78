"""The forwarding of one process: the intake, the forwarder and their figures."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from service.metrics import Metrics
from service.receiving.forwarding.addresses import name_addresses
from service.receiving.forwarding.forwarder import MOST_AT_A_TIME, Forwarder
from service.receiving.forwarding.intake import ForwardIntake
from service.receiving.forwarding.sealing import BodySeal
from service.store.database import Database
from service.store.outbox import Backlog, Outbox


class Forwarding:
    """Forwards to `urls`; at most `most_bytes` of bodies wait."""

    def __init__(
        self,
        database: Database,
        encryption_keys: Sequence[str],
        urls: Sequence[str],
        most_bytes: int,
        session: aiohttp.ClientSession,
        metrics: Metrics,
    ) -> None:
        addresses = name_addresses(urls)
        seal = BodySeal(encryption_keys)
        self.most_bytes = most_bytes
        self.addresses = list(addresses)
        self.outbox = Outbox(database, most_bytes)
        self.forwarder = Forwarder(self.outbox, seal, session, addresses, metrics)
        self.intake = ForwardIntake(self.outbox, seal, self.addresses, self.forwarder.wake)

    def waiting(self) -> int:
        """How many deliveries waited for all addresses at the last count."""
        return sum(backlog.waiting for backlog in self.forwarder.backlogs.values())

    def set_aside(self) -> int:
        """How many deliveries were set aside at the last count."""
        return sum(backlog.set_aside for backlog in self.forwarder.backlogs.values())

    def oldest_s(self) -> float:
        """How many seconds the oldest delivery had waited at the last count."""
        return max((each.oldest_s for each in self.forwarder.backlogs.values()), default=0.0)

    def describe(self) -> dict[str, object]:
        """Describe what waits for each address; the figures can be some seconds old."""
        backlogs = {address: Backlog(address) for address in self.addresses}
        backlogs |= self.forwarder.backlogs
        return {
            "waiting": self.waiting(),
            "waitingBytes": self.outbox.waiting_bytes,
            "maxBytes": self.most_bytes,
            "setAside": self.set_aside(),
            "oldestSeconds": round(self.oldest_s(), 3),
            "addresses": [
                {
                    "address": backlog.address,
                    "waiting": backlog.waiting,
                    "posting": backlog.posting,
                    "setAside": backlog.set_aside,
                    "oldestSeconds": round(backlog.oldest_s, 3),
                    "attempts": backlog.most_attempts,
                    "isConfigured": backlog.address in self.addresses,
                }
                for backlog in backlogs.values()
            ],
        }


def forward_session() -> aiohttp.ClientSession:
    """Open a client for forward addresses; it keeps no cookies and ignores proxy variables."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit_per_host=MOST_AT_A_TIME),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers={"User-Agent": "instagram-identity"},
    )
