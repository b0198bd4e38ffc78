"""Participants announced by another receiver of Meta's webhook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from aiohttp import web

from service.http.bodies import decode_body, read_body
from service.http.problems import json_response
from service.metrics import Metrics
from service.model.contacts import merge_contacts
from service.receiving.announced import RejectedParticipant, read_announced
from service.receiving.intake import Intake

MOST_ANNOUNCED = 1000


class AnnouncementBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /participants`; each participant is accepted or refused separately."""

    participants: Annotated[
        list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MOST_ANNOUNCED)
    ]


class Announcement(msgspec.Struct, frozen=True):
    """How many of the announced participants are stored, and which are refused."""

    accepted: int
    rejected: list[RejectedParticipant]


class ParticipantRoutes:
    """Accepts participants as the webhook does. `account_of` is the current directory."""

    def __init__(
        self, intake: Intake, account_of: Callable[[], Mapping[str, str]], metrics: Metrics
    ) -> None:
        self._intake = intake
        self._account_of = account_of
        self._contacts = metrics.contacts

    async def announce(self, request: web.Request) -> web.Response:
        """Answer once every accepted participant is stored."""
        body = decode_body(await read_body(request), AnnouncementBody)
        announced = read_announced(body.participants, datetime.now(UTC), self._account_of())
        if announced.contacts:
            self._contacts.inc(len(announced.contacts))
            await self._intake.accept(merge_contacts(announced.contacts))
        return json_response(Announcement(len(announced.contacts), announced.rejected))
