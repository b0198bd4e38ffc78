"""Stores a signed delivery for every forward address before it is acknowledged."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence

from service.model.contacts import Contact
from service.receiving.forwarding.sealing import BodySeal
from service.store.outbox import Outbox, Outgoing

FORWARDED_HEADERS = ("Content-Type", "X-Hub-Signature-256", "X-Hub-Signature")
_LONGEST_HEADER = 1000


class ForwardIntake:
    """Stores deliveries; `on_stored` is called after each."""

    def __init__(
        self,
        outbox: Outbox,
        seal: BodySeal,
        addresses: Sequence[str],
        on_stored: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._seal = seal
        self._addresses = addresses
        self._on_stored = on_stored

    async def store(
        self, body: bytes, headers: Mapping[str, str], contacts: Sequence[Contact]
    ) -> None:
        """Return once the delivery is committed for every address; raises UnavailableError."""
        delivery_id = str(uuid.uuid4())
        kept = {
            name: headers[name][:_LONGEST_HEADER] for name in FORWARDED_HEADERS if name in headers
        }
        users = {contact.ig_user_id for contact in contacts}
        sealed = self._seal.seal(body, delivery_id)
        only_user_id = next(iter(users)) if len(users) == 1 else None
        await self._outbox.store(
            [
                Outgoing(delivery_id, address, kept, sealed, len(body), only_user_id)
                for address in self._addresses
            ]
        )
        self._on_stored()
