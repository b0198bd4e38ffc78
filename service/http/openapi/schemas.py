"""The schemas of the API: from the structs that the routes read and write, and words on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import msgspec

from service.http.connections import ConnectionBody
from service.http.grant_signing import Grant
from service.http.grants import GrantBody
from service.http.history import History
from service.http.operators import MOST_DAYS, EraseBody
from service.http.participants import MOST_ANNOUNCED, Announcement
from service.http.people import MOST_PEOPLE
from service.http.users import MOST_IDS
from service.identities.people import Person
from service.judgement.token_rules import TokenWarning
from service.judgement.verdict import Verdict
from service.model import Identity, Login, PauseReason, UserReason
from service.receiving.announced import AnnouncedParticipant
from service.resolving.on_request import BACKFILL_LIMIT, Backfill
from service.store.connections import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.http.openapi.examples import Json

SCHEMAS_AT = "#/components/schemas/"
IG_ID: Json = {"type": "string", "pattern": "^[0-9]{1,32}$", "examples": ["1254459154682919"]}
_TIME: Json = {"format": "date-time"}
_COUNT: Json = {"type": "integer", "minimum": 0}

REASONS: list[object] = sorted({*get_args(UserReason), *get_args(PauseReason)})
PAUSE_REASONS: list[object] = sorted({*get_args(PauseReason)})

# What the types can't say, by the name of the property, in whichever struct it stands.
_WORDS: Mapping[str, Json] = {
    "igUserId": IG_ID | {"description": "The user's Instagram-scoped id."},
    "igAccountId": IG_ID | {"description": "The professional account's id, `entry.id`."},
    "aliasIds": {"items": IG_ID, "description": "Other ids that Meta uses for the account."},
    "displayName": {
        "minLength": 1,
        "description": "What to show: `@username`, else the name, else `@user_` and the last "
        "6 digits of the id.",
    },
    "profilePicUrl": {"description": "Meta's own address, which expires; show `pictureUrl`."},
    "pictureUrl": {
        "description": "Where this service serves the picture; `v` changes with its bytes. Null "
        "while there is none, also until a new one is copied."
    },
    "source": {
        "enum": ["profile", "conversation", None],
        "description": "Where the names come from. `conversation`: Meta refused the profile, and "
        "the conversation gave the username.",
    },
    "isPlaceholder": {"description": "`displayName` is the `@user_…` fallback."},
    "state": {
        "description": "`resolved`: fetched at least once. `pending`: not yet, will be tried. "
        "`failed`: never fetched, retries have stopped. `unknown`: has never written."
    },
    "stale": {"description": "The identity has expired; a refresh is queued by looking it up."},
    "failCount": _COUNT | {"description": "Failures in a row."},
    "lastFetchedAt": _TIME,
    "lastFailedAt": _TIME,
    "reason": {
        "enum": [*REASONS, None],
        "description": "Why there is no fresh identity, or with `source` `conversation` no "
        "picture; else null.",
    },
    "lastMessageAt": _TIME,
    "wrote": {"description": "The user wrote, which gives Meta's consent; false: the business."},
    "accepted": _COUNT | {"description": "How many are durable now."},
    "index": _COUNT | {"description": "Which of those sent, counted from 0."},
    "detail": {"description": "What is wrong with it."},
    "nextAttemptAt": _TIME
    | {"description": "When Meta is asked next; null if not, or once a pause without end is over."},
    "igUserIds": {"items": IG_ID},
    "level": {"description": "`broken` needs somebody now, `attention` in the morning."},
    "sentences": {"description": "What to know and do, the worst first."},
    "causes": {"description": "The same in parts."},
    "text": {"description": "What is wrong, and for how many."},
    "likely": {"description": "The likely cause."},
    "cure": {"description": "What to do."},
    "command": {"description": "A command for it, with the real ids."},
    "replica": {"description": "Tells this replica from the others until it stops."},
    "minutes": {"maxItems": 60, "description": "The last hour, the oldest minute first."},
    "at": _TIME,
    "startedAt": _TIME,
    "createdAt": _TIME,
    "updatedAt": _TIME,
    "pausedUntil": _TIME | {"description": "Until when the account is not called."},
    "pauseReason": {"enum": [*PAUSE_REASONS, None]},
    "tokenExpiresAt": _TIME | {"description": "Null where it has no end, or none is known."},
    "dataAccessExpiresAt": _TIME,
    "tokenCheckedAt": _TIME | {"description": "When Meta was last asked about the token."},
    "scopes": {"description": "The permissions that the token has."},
    "isPlain": {"description": "The token is stored as Meta gave it, not encrypted."},
    "tokenStatus": {"enum": ["active", "invalid"]},
    "login": {
        "enum": sorted(get_args(Login)),
        "description": "Which login gave the token, and so which host of Meta's is called.",
    },
    "locationId": {"description": "The tenant that owns the account."},
    "accessToken": {"format": "password", "writeOnly": True},
    "grant": {"minLength": 1, "description": "Send it as `?grant=`."},
    "expiresAt": _TIME,
    "expiresIn": {"description": "Seconds."},
    "days": {"minimum": 1, "maximum": MOST_DAYS},
    "candidates": _COUNT | {"description": "Users that lack a fresh identity, at most 10,000."},
    "attempted": _COUNT | {"maximum": BACKFILL_LIMIT},
    "resolved": _COUNT,
    "failed": _COUNT,
    "queued": _COUNT | {"description": "Not finished in time, or the account is paused."},
    "remaining": _COUNT | {"description": "`candidates` minus `attempted`: ask again for these."},
    "waiting": _COUNT | {"description": "Left out: they wait after a failure."},
    "stopped": _COUNT | {"description": "Left out: retries have ended."},
    "paused": _COUNT | {"description": "Can't be called: the account or the app is paused."},
    "waitingUntil": _TIME | {"description": "When the last of those who wait is tried again."},
    "askedAt": _TIME | {"description": "When the request began, by the database's clock."},
}


def schemas() -> Json:
    """Give the schemas by name."""
    _, found = msgspec.json.schema_components(
        [
            *(Identity, Person, Backfill, ConnectionBody, Connection, EraseBody, GrantBody, Grant),
            *(Verdict, History, TokenWarning, AnnouncedParticipant, Announcement),
        ],
        ref_template=f"{SCHEMAS_AT}{{name}}",
    )
    structs = {name: _in_words(schema) for name, schema in found.items()}
    return {**structs, **_BY_HAND}


def schema_ref(name: str) -> Json:
    """Point at a schema."""
    return {"$ref": SCHEMAS_AT + name}


def object_of(properties: Mapping[str, object], **more: object) -> Json:
    """Describe an object that always has all of these properties."""
    return {"type": "object", "properties": dict(properties), "required": [*properties], **more}


def array_of(items: Json, **more: object) -> Json:
    """Describe an array."""
    return {"type": "array", "items": items, **more}


def _in_words(schema: Json) -> Json:
    properties = schema["properties"]
    assert isinstance(properties, dict)  # noqa: S101 - for mypy: it is a struct's
    said = {name: _said(name, _plain(prop)) for name, prop in properties.items()}
    return schema | {"properties": said}


def _said(name: str, schema: Json) -> Json:
    """Add what the type can't say; what may be null stays so."""
    is_nullable = isinstance(schema.get("type"), list)
    return schema | _WORDS.get(name, {}) | ({"type": schema["type"]} if is_nullable else {})


def _plain(schema: Json) -> Json:
    """Write a nullable type as one list, and a pattern's end as JSON Schema does."""
    match schema:
        case {"anyOf": [{"type": str(first)}, {"type": str(second)}]}:
            return {"type": [first, second]}
        case {"pattern": str(pattern)}:
            return schema | {"pattern": pattern.removesuffix(r"(?!\n)")}
        case _:
            return dict(schema)


_NUMBER: Json = {"type": "number", "minimum": 0}
_STORE: Json = {"enum": ["ok", "unavailable"], "description": "Whether PostgreSQL answers."}
_INTAKE = object_of(
    {"kind": {"type": "string", "examples": ["postgres", "jetstream"]}},
    description="Where deliveries are made durable.",
)
_WRITERS: Json = {
    "wrote": _COUNT,
    "named": _COUNT,
    "waiting": _COUNT | {"description": "Meta has still to be asked."},
    "nameless": {
        "type": "object",
        "additionalProperties": _COUNT,
        "description": "Those without a name, by reason.",
    },
}
_OF_ACCOUNT: Json = {
    "igAccountId": IG_ID,
    "username": {"type": ["string", "null"]},
    "locationId": {"type": ["string", "null"]},
}
_BY_HAND: Json = {
    "Problem": object_of(
        {
            "type": {"type": "string", "format": "uri-reference", "examples": ["about:blank"]},
            "title": {"type": "string", "examples": ["Bad Request"]},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What is wrong, for a person."},
            "requestId": {"type": "string", "description": "The same as `X-Request-ID`."},
        },
        description="An error, as RFC 9457 has it.",
    ),
    "Users": object_of(
        {"users": array_of(schema_ref("Identity"), minItems=1, maxItems=MOST_IDS)},
        description="Identities in the order asked, repeats kept.",
    ),
    "People": object_of(
        {
            "people": array_of(schema_ref("Person"), maxItems=MOST_PEOPLE),
            "next": {
                "type": ["string", "null"],
                "description": "Send it as `cursor` for the next page; null at the end. A page may "
                "be short or empty and still have it: filters that few people match are searched "
                "for in steps.",
            },
        },
        description="Who has written, the most recent first.",
    ),
    "Erased": object_of({"erased": _COUNT | {"description": "How many users were erased."}}),
    "AnnouncementBody": object_of(
        {
            "participants": array_of(
                schema_ref("AnnouncedParticipant"), minItems=1, maxItems=MOST_ANNOUNCED
            )
        },
        additionalProperties=False,
    ),
    "Connections": object_of({"connections": array_of(schema_ref("Connection"))}),
    "Delivery": {
        "type": "object",
        "description": "What Meta sends. Nothing in it is required: a malformed item costs that "
        "item alone, and is logged.",
        "properties": {
            "object": {
                "description": "`instagram`. Anything else is acknowledged and logged, and makes "
                "no participant."
            },
            "entry": {"description": "An array: one element an account, its messages in it."},
        },
    },
    "Status": object_of(
        {
            "verdict": schema_ref("Verdict"),
            "recent": object_of(
                _WRITERS | {"accounts": array_of(object_of(_OF_ACCOUNT | _WRITERS), maxItems=20)},
                description="Those who wrote within the last hour, the last 1,000 of them; "
                "`accounts` has the worst first.",
            ),
            "tokens": object_of(
                {
                    "total": _COUNT,
                    "warnings": array_of(schema_ref("TokenWarning"), maxItems=20),
                },
                description="What to do about tokens, the most urgent first.",
            ),
            "history": schema_ref("History"),
            "queue": object_of({"depth": _COUNT, "oldestSeconds": _NUMBER, "inFlight": _COUNT}),
            "budget": object_of(
                {
                    "perSecond": _NUMBER,
                    "waitSeconds": _NUMBER,
                    "pace": _NUMBER | {"description": "1: full speed; less: slowed by Meta."},
                }
            ),
            "pauses": array_of(
                object_of(
                    {
                        "scope": {"type": "string", "pattern": "^(app|account:[0-9]{1,32})$"},
                        "until": {"type": "string"} | _TIME,
                        "reason": {"enum": PAUSE_REASONS},
                        "waiting": _COUNT | {"description": "Users held up, up to 1,000."},
                    }
                )
            ),
            "identities": object_of(dict.fromkeys(("resolved", "pending", "failed"), _COUNT)),
            "postgres": _STORE,
            "intake": _INTAKE,
            "forwards": {"anyOf": [schema_ref("Forwards"), {"type": "null"}]},
        },
        description="How the service does; the counts of identities may be a minute old.",
    ),
    "Forwards": object_of(
        {
            "waiting": _COUNT,
            "waitingBytes": _COUNT,
            "maxBytes": _COUNT,
            "setAside": _COUNT,
            "oldestSeconds": _NUMBER,
            "addresses": array_of(
                object_of(
                    {
                        "address": {"type": "string"},
                        "waiting": _COUNT,
                        "posting": _COUNT,
                        "setAside": _COUNT,
                        "oldestSeconds": _NUMBER,
                        "attempts": _COUNT,
                        "isConfigured": {"type": "boolean"},
                    }
                )
            ),
        },
        description="Deliveries that wait for the addresses in FORWARD_URLS; some seconds old.",
    ),
    "ConsoleContext": object_of(
        {
            "maxFailures": _COUNT,
            "retryWaitsSeconds": array_of(_NUMBER),
            "sandbox": {"type": "boolean", "description": "Whether test messages can be sent."},
        },
        description="By which rules people are tried again, for the console to explain.",
    ),
    "Alive": object_of({"status": {"const": "ok"}}),
    "Readiness": object_of(
        {"status": {"enum": ["ready", "draining"]}, "postgres": _STORE, "intake": _INTAKE}
    ),
}
