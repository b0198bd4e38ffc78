"""What each route takes and answers, in the words of OpenAPI 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.http.openapi.listing import people_paths
from service.http.openapi.pages import page_paths, probe_paths
from service.http.openapi.parts import (
    ANYBODY,
    BROWSER,
    INBOX,
    OPERATOR,
    OPERATOR_REFUSALS,
    TEXT,
    answer,
    comma_list,
    empty,
    header,
    headers,
    json,
    operation,
    path_part,
    problem,
    problems,
    query,
    text,
)
from service.http.openapi.schemas import IG_ID
from service.http.operators import DEFAULT_DAYS, MOST_DAYS
from service.http.users import MOST_IDS

if TYPE_CHECKING:
    from service.http.openapi.examples import Json

_FOR_BROWSERS = ("Access-Control-Allow-Origin", "Cache-Control")
_PICTURE_HEADERS = (*_FOR_BROWSERS, "Cross-Origin-Resource-Policy", "X-Content-Type-Options")
_LOOKUP_REFUSALS = ("400", "401", "429", "503")

_USER_ID = path_part("igUserId", IG_ID, "The user's Instagram-scoped id: 1 to 32 digits.")
_ACCOUNT_ID = path_part(
    "igAccountId",
    IG_ID | {"examples": ["17841400000000001"]},
    "The professional account's id: 1 to 32 digits.",
)
_LOCATION: Json = {"$ref": "#/components/schemas/ConnectionBody/properties/locationId"}


def paths(prefix: str) -> Json:
    """Give the paths; `prefix` is that of the API's own."""
    described = (
        *(_webhook(), _users(), _user(), _picture(), _events(), _grants()),
        *(people_paths(), _operations(), _connections()),
    )
    prefixed = {prefix + path: item for part in described for path, item in part.items()}
    return prefixed | probe_paths() | page_paths()


def _webhook() -> Json:
    handshake = operation(
        "verifyWebhook",
        "Meta",
        "Shake hands with Meta",
        "Meta calls this once, when the webhook is set up in its dashboard.",
        ANYBODY,
        {"200": text("The challenge, unchanged."), "403": problem("Forbidden"), **problems("429")},
        parameters=[
            query("hub.mode", TEXT, "Meta sends `subscribe`."),
            query("hub.verify_token", TEXT, "META_VERIFY_TOKEN.", required=True),
            query("hub.challenge", TEXT, "What is to be returned."),
        ],
    )
    delivery = operation(
        "receiveWebhook",
        "Meta",
        "Receive a delivery",
        "Acknowledged once every participant in it is durable. The signature is over the bytes "
        "as they are sent, at most 1 MiB of them.",
        ANYBODY,
        {"200": text("`EVENT_RECEIVED`"), **problems("400", "408", "413", "503")}
        | {"401": problem("BadSignature")},
        parameters=[
            header(
                "X-Hub-Signature-256",
                {"type": "string", "pattern": "^sha256=[0-9a-fA-F]{64}$"},
                "`sha256=` and the HMAC-SHA256 of the body in hex, by one of META_APP_SECRETS.",
                required=True,
            )
        ],
        body="Delivery",
    )
    return {"/webhook": {"get": handshake, "post": delivery}}


def _users() -> Json:
    many = operation(
        "getUsers",
        "Inbox",
        "Look up many users",
        "In the order asked, repeats kept. What is stale is served, and a refresh queued.",
        BROWSER,
        {"200": json("Users"), **problems(*_LOOKUP_REFUSALS)},
        parameters=[
            comma_list(
                "ids",
                IG_ID,
                MOST_IDS,
                "A comma list of 1 to 200 ids.",
                required=True,
                example=["1254459154682919", "5512340987"],
            )
        ],
    )
    return {"/users": {"get": many}}


def _user() -> Json:
    one = operation(
        "getUser",
        "Inbox",
        "Look up a user",
        "A user never heard of is 200 with `state: unknown`, not 404.",
        BROWSER,
        {"200": json("Identity"), **problems(*_LOOKUP_REFUSALS)},
        parameters=[_USER_ID],
    )
    erase = operation(
        "eraseUser",
        "Operations",
        "Erase a user",
        "Erases everything held about the user, also what is in flight; known or not.",
        OPERATOR,
        {"204": empty("Nothing is held."), **problems("400", *OPERATOR_REFUSALS, "503")},
        parameters=[_USER_ID],
    )
    refresh = operation(
        "refreshUser",
        "Operations",
        "Fetch a user anew",
        "Clears the failure count and fetches within 10 s. The identity is as it was if the "
        "account is paused or the time ran out.",
        OPERATOR,
        {"200": json("Identity"), **problems("400", "404", *OPERATOR_REFUSALS, "503")},
        parameters=[_USER_ID],
    )
    return {
        "/users/{igUserId}": {"get": one, "delete": erase},
        "/users/{igUserId}/refresh": {"post": refresh},
    }


def _picture() -> Json:
    shown = answer(
        "image/svg+xml",
        TEXT,
        "The picture (JPEG, PNG, WebP or GIF); an SVG of initials where there is none.",
        *_PICTURE_HEADERS,
        "Content-Security-Policy",
    )
    live = {
        "description": "With `PICTURES=link`: Meta's address, while it is good.",
        "headers": headers("Location", *_PICTURE_HEADERS),
    }
    same = {
        "description": "The browser has the picture already, by its `If-None-Match`.",
        "headers": headers("ETag", *_PICTURE_HEADERS),
    }
    picture = operation(
        "getPicture",
        "Inbox",
        "Show a user's picture",
        "For an `<img>` on any site: the copy of the last good picture, also long after Meta's "
        "address has expired. A live picture that is not copied yet is copied within 2 s.",
        BROWSER,
        {"200": shown, "302": live, "304": same, **problems(*_LOOKUP_REFUSALS)},
        parameters=[_USER_ID],
    )
    return {"/users/{igUserId}/picture": {"get": picture}}


def _events() -> Json:
    stream = answer("text/event-stream", TEXT, "A stream without end.", *_FOR_BROWSERS)
    events = operation(
        "watchUsers",
        "Inbox",
        "Watch identities change",
        "Server-Sent Events: an `identity` event, whose data is the Identity, when one changes "
        "on any replica; a `reload` event after a gap: look up anew what you show.",
        BROWSER,
        {"200": stream, **problems(*_LOOKUP_REFUSALS)},
        parameters=[
            comma_list("ids", IG_ID, MOST_IDS, "Only these users."),
            header("Last-Event-ID", TEXT, "Sent by browsers that come back."),
        ],
    )
    return {"/users/events": {"get": events}}


def _grants() -> Json:
    grant = operation(
        "makeGrant",
        "Inbox",
        "Let a browser in",
        "A signed, short-lived key that opens `/users?ids=`, `/users/{igUserId}`, its picture and "
        "`/users/events` for reading, from pages of any origin, so that no API key ever reaches a "
        "browser. Without a body it holds ten minutes.",
        INBOX,
        {
            "200": json("Grant", "Good until then.", "Cache-Control"),
            **problems("400", "401", "408", "413", "429", "503"),
        },
        body="GrantBody",
        is_body_optional=True,
    )
    return {"/grants": {"post": grant}}


def _operations() -> Json:
    days: Json = {"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": DEFAULT_DAYS}
    backfill = operation(
        "backfill",
        "Operations",
        "Fetch the users of a location",
        "The most recent users that lack a fresh identity, at most 50 a request; waits for them, "
        "30 s at most. Repeat it until `remaining` is 0.",
        OPERATOR,
        {"200": json("Backfill"), **problems("400", "404", *OPERATOR_REFUSALS, "503")},
        parameters=[
            query("locationId", _LOCATION, "The tenant.", required=True, example="loc_1"),
            query("days", days, "How far back their last message may be."),
            query(
                "includeFailed",
                {"type": "boolean", "default": False},
                "Also those that have stopped or wait after a failure, whenever they failed.",
            ),
            query(
                "failedBefore",
                {"type": "string", "format": "date-time"},
                "With `includeFailed`: not those who failed later than this. Send the first "
                "answer's `askedAt`, so that nobody is tried twice in one run.",
                example="2026-11-22T10:00:00Z",
            ),
        ],
    )
    status = operation(
        "getStatus",
        "Operations",
        "See how the service does",
        "Answers also while PostgreSQL is away, with what was last known.",
        OPERATOR,
        {"200": json("Status"), **problems(*OPERATOR_REFUSALS)},
    )
    return {"/messages/backfill": {"post": backfill}, "/status": {"get": status}}


def _connections() -> Json:
    listed = operation(
        "listConnections",
        "Operations",
        "List the connections",
        "Without their tokens.",
        OPERATOR,
        {"200": json("Connections"), **problems(*OPERATOR_REFUSALS, "503")},
    )
    put = operation(
        "putConnection",
        "Operations",
        "Create or replace a connection",
        "The token is tried at Meta first, for at most 3 s: one that Meta calls dead is refused "
        "with Meta's words, and nothing is changed. Where Meta is out of reach the token is "
        "stored, and `tokenCheckedAt` is null. A new token frees the account's users at once, on "
        "every replica.",
        OPERATOR,
        {
            "200": json("Connection"),
            **problems("400", "408", "409", "412", "413", "422", *OPERATOR_REFUSALS, "503"),
        },
        parameters=[
            _ACCOUNT_ID,
            header(
                "If-None-Match", {"const": "*"}, "Only create: 412 if the account is connected."
            ),
        ],
        body="ConnectionBody",
    )
    delete = operation(
        "deleteConnection",
        "Operations",
        "Remove a connection",
        "The names of its users stay, unless they are to be erased: then everything held about "
        "users who have written to no other account goes, in the background where it takes long.",
        OPERATOR,
        {"204": empty("It is gone."), **problems("400", "404", *OPERATOR_REFUSALS, "503")},
        parameters=[
            _ACCOUNT_ID,
            query(
                "erase",
                {"type": "boolean", "default": False},
                "Also erase the users who have written to this account alone.",
            ),
        ],
    )
    return {
        "/connections": {"get": listed},
        "/connections/{igAccountId}": {"put": put, "delete": delete},
    }
