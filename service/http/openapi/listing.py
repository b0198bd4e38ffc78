"""What the routes for many people take and answer: the list, announcing and erasing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.http.openapi.parts import (
    OPERATOR,
    OPERATOR_REFUSALS,
    json,
    operation,
    problems,
    query,
)
from service.http.openapi.schemas import IG_ID
from service.http.people import MOST_DAYS, MOST_PEOPLE, REASONS, STATES, USUAL_PEOPLE
from service.store.people import LONGEST_PREFIX

if TYPE_CHECKING:
    from service.http.openapi.examples import Json

_LOCATION: Json = {"$ref": "#/components/schemas/ConnectionBody/properties/locationId"}


def people_paths() -> Json:
    """Give the paths."""
    listed = operation(
        "listPeople",
        "Operations",
        "List who has written",
        "The most recent first, one entry a user. Filters go together. A page costs the same "
        "however many people there are.",
        OPERATOR,
        {"200": json("People"), **problems("400", *OPERATOR_REFUSALS, "503")},
        parameters=_filters(),
    )
    erased = operation(
        "eraseUsers",
        "Operations",
        "Erase many users",
        "Each as `DELETE /users/{igUserId}`, known or not.",
        OPERATOR,
        {
            "200": json("Erased"),
            **problems("400", "408", "413", *OPERATOR_REFUSALS, "503"),
        },
        body="EraseBody",
    )
    announced = operation(
        "announceParticipants",
        "Operations",
        "Announce who has written",
        "For a receiver that keeps Meta's webhook itself. Answered once those that are accepted "
        "are durable; they resolve like live messages. Each is judged by itself.",
        OPERATOR,
        {
            "200": json("Announcement"),
            **problems("400", "408", "413", *OPERATOR_REFUSALS, "503"),
        },
        body="AnnouncementBody",
    )
    return {
        "/people": {"get": listed},
        "/participants": {"post": announced},
        "/users/erase": {"post": erased},
    }


def _filters() -> list[Json]:
    prefix: Json = {"type": "string", "maxLength": LONGEST_PREFIX}
    return [
        query(
            "q",
            prefix,
            "How the username, the name or the id begins; after an `@` the username alone.",
            example="@jane",
        ),
        query("locationId", _LOCATION, "Those who wrote to an account of this location."),
        query("igAccountId", IG_ID, "Those who wrote to this account."),
        query("state", {"enum": [*STATES]}, "Those in this state."),
        query("reason", {"enum": [*REASONS]}, "Those without a fresh identity for this reason."),
        query("named", {"type": "boolean"}, "Those with a name, or those without one."),
        query(
            "days",
            {"type": "integer", "minimum": 1, "maximum": MOST_DAYS},
            "Those whose last message is at most so many days old.",
        ),
        query(
            "limit",
            {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_PEOPLE,
                "default": USUAL_PEOPLE,
            },
            "At most so many.",
        ),
        query("cursor", {"type": "string"}, "`next` of the page before."),
    ]
