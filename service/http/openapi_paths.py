"""What each route takes and answers, in the words of OpenAPI 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.http.openapi_parts import (
    CACHED,
    TEXT,
    answer,
    comma_list,
    empty,
    header,
    headers,
    html,
    json,
    operation,
    path_part,
    problem,
    problems,
    query,
    text,
)
from service.http.openapi_schemas import IG_ID
from service.http.operators import DEFAULT_DAYS, MOST_DAYS
from service.http.users import MOST_IDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.http.openapi_examples import Json

_INBOX: list[Json] = [{"inboxKey": []}, {"operatorKey": []}]
_OPERATOR: list[Json] = [{"operatorKey": []}]
_BROWSER: list[Json] = [*_INBOX, {"grant": []}]
_ANYBODY: list[Json] = []

_FOR_BROWSERS = ("Access-Control-Allow-Origin", "Cache-Control")
_LOOKUP_REFUSALS = ("400", "401", "429", "503")
_OPERATOR_REFUSALS = ("401", "403", "429")

_USER_ID = path_part("igUserId", IG_ID, "The user's Instagram-scoped id: 1 to 32 digits.")
_ACCOUNT_ID = path_part(
    "igAccountId",
    IG_ID | {"examples": ["17841400000000001"]},
    "The professional account's id: 1 to 32 digits.",
)
_LOCATION: Json = {"$ref": "#/components/schemas/ConnectionBody/properties/locationId"}


def paths(prefix: str) -> Json:
    """Give the paths; `prefix` is that of the API's own."""
    api = [_webhook(), _users(), _user(), _browsers(), _operations(), _connections()]
    prefixed = {prefix + path: item for part in api for path, item in part.items()}
    return prefixed | _probes() | _pages()


def _webhook() -> Json:
    handshake = operation(
        "verifyWebhook",
        "Meta",
        "Shake hands with Meta",
        "Meta calls this once, when the webhook is set up in its dashboard.",
        _ANYBODY,
        {"200": text("The challenge, unchanged."), "403": problem("Forbidden")},
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
        _ANYBODY,
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
        _INBOX,
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
        _INBOX,
        {"200": json("Identity"), **problems(*_LOOKUP_REFUSALS)},
        parameters=[_USER_ID],
    )
    erase = operation(
        "eraseUser",
        "Operations",
        "Erase a user",
        "Erases everything held about the user, also what is in flight; known or not.",
        _OPERATOR,
        {"204": empty("Nothing is held."), **problems("400", *_OPERATOR_REFUSALS, "503")},
        parameters=[_USER_ID],
    )
    refresh = operation(
        "refreshUser",
        "Operations",
        "Fetch a user anew",
        "Clears the failure count and fetches within 10 s. The identity is as it was if the "
        "account is paused or the time ran out.",
        _OPERATOR,
        {"200": json("Identity"), **problems("400", "404", *_OPERATOR_REFUSALS, "503")},
        parameters=[_USER_ID],
    )
    return {
        "/users/{igUserId}": {"get": one, "delete": erase},
        "/users/{igUserId}/refresh": {"post": refresh},
    }


def _browsers() -> Json:
    svg = answer(
        "image/svg+xml",
        TEXT,
        "The initials, where there is no picture.",
        *_FOR_BROWSERS,
        "Content-Security-Policy",
    )
    live = {
        "description": "The picture, at an address that has not expired.",
        "headers": headers("Location", *_FOR_BROWSERS),
    }
    picture = operation(
        "getPicture",
        "Inbox",
        "Show a user's picture",
        "For an `<img>`: never a broken one. If the address has expired, a refresh is queued and "
        "the initials are shown meanwhile.",
        _BROWSER,
        {"200": svg, "302": live, **problems(*_LOOKUP_REFUSALS)},
        parameters=[_USER_ID],
    )
    stream = answer("text/event-stream", TEXT, "A stream without end.", *_FOR_BROWSERS)
    events = operation(
        "watchUsers",
        "Inbox",
        "Watch identities change",
        "Server-Sent Events: an `identity` event, whose data is the Identity, when one changes "
        "on any replica; a `reload` event after a gap: look up anew what you show.",
        _BROWSER,
        {"200": stream, **problems(*_LOOKUP_REFUSALS)},
        parameters=[
            comma_list("ids", IG_ID, MOST_IDS, "Only these users."),
            header("Last-Event-ID", TEXT, "Sent by browsers that come back."),
        ],
    )
    grant = operation(
        "makeGrant",
        "Inbox",
        "Let a browser in",
        "A signed, short-lived key for the pictures and the events, so that no API key ever "
        "reaches a browser. Without a body it holds ten minutes.",
        _INBOX,
        {
            "200": json("Grant", "Good until then.", "Cache-Control"),
            **problems("400", "401", "408", "413", "429"),
        },
        body="GrantBody",
        is_body_optional=True,
    )
    return {
        "/users/{igUserId}/picture": {"get": picture},
        "/users/events": {"get": events},
        "/grants": {"post": grant},
    }


def _operations() -> Json:
    days: Json = {"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": DEFAULT_DAYS}
    backfill = operation(
        "backfill",
        "Operations",
        "Fetch the users of a location",
        "The most recent users that lack a fresh identity, at most 50 a request; waits for them, "
        "30 s at most. Repeat it until `remaining` is 0.",
        _OPERATOR,
        {"200": json("Backfill"), **problems("400", "404", *_OPERATOR_REFUSALS, "503")},
        parameters=[
            query("locationId", _LOCATION, "The tenant.", required=True, example="loc_1"),
            query("days", days, "How far back their last message may be."),
            query(
                "includeFailed",
                {"type": "boolean", "default": False},
                "Also those that have stopped or wait after a failure.",
            ),
        ],
    )
    status = operation(
        "getStatus",
        "Operations",
        "See how the service does",
        "Answers also while PostgreSQL is away, with what was last known.",
        _OPERATOR,
        {"200": json("Status"), **problems(*_OPERATOR_REFUSALS)},
    )
    return {"/messages/backfill": {"post": backfill}, "/status": {"get": status}}


def _connections() -> Json:
    listed = operation(
        "listConnections",
        "Operations",
        "List the connections",
        "Without their tokens.",
        _OPERATOR,
        {"200": json("Connections"), **problems(*_OPERATOR_REFUSALS, "503")},
    )
    put = operation(
        "putConnection",
        "Operations",
        "Create or replace a connection",
        "A renewed token frees the account's users at once, on every replica.",
        _OPERATOR,
        {
            "200": json("Connection"),
            **problems("400", "408", "409", "413", *_OPERATOR_REFUSALS, "503"),
        },
        parameters=[_ACCOUNT_ID],
        body="ConnectionBody",
    )
    delete = operation(
        "deleteConnection",
        "Operations",
        "Remove a connection",
        "The names of its users stay.",
        _OPERATOR,
        {"204": empty("It is gone."), **problems("400", "404", *_OPERATOR_REFUSALS, "503")},
        parameters=[_ACCOUNT_ID],
    )
    return {
        "/connections": {"get": listed},
        "/connections/{igAccountId}": {"put": put, "delete": delete},
    }


def _probes() -> Json:
    ready = json("Readiness", "Ready; the body tells the state of PostgreSQL.")
    draining = json("Readiness", "Draining.")
    return {
        "/healthz": _open("healthz", "Probes", "Is the process alive?", {"200": json("Alive")}),
        "/readyz": _open(
            "readyz",
            "Probes",
            "Has it started, and is it not draining?",
            {"200": ready, "503": draining},
        ),
        "/metrics": _open(
            "metrics", "Probes", "Figures for Prometheus", {"200": text("Prometheus text, 0.0.4.")}
        ),
    }


def _pages() -> Json:
    path = path_part(
        "path",
        {"type": "string", "minLength": 1, "examples": ["docs/docs.css"]},
        "A page's folder and a file in it; slashes are taken as they are.",
    )
    document = answer("application/json", {"type": "object"}, "OpenAPI 3.1.", *CACHED)
    file = answer("*/*", {}, "The file.", *CACHED)
    console = html("The page itself holds nothing: it asks for an operator key.")
    context = operation(
        "consoleContext",
        "Pages",
        "What the console explains",
        "",
        _OPERATOR,
        {"200": json("ConsoleContext"), **problems(*_OPERATOR_REFUSALS)},
    )
    return {
        "/console/context": {"get": context},
        "/openapi.json": _page("openapi", "This document", document),
        "/docs": _page("docs", "This document, for people", html("Works offline.")),
        "/console": _page("console", "The operator's console", console),
        "/static/{path}": _page(
            "static", "What the pages load", file, parameters=[path], **problems("404")
        ),
    }


def _page(
    name: str, summary: str, found: Json, *, parameters: Iterable[Json] = (), **refusals: object
) -> Json:
    unchanged = {"description": "The client's copy is good.", "headers": headers(*CACHED)}
    responses = {"200": found, "304": unchanged, **refusals}
    return _open(name, "Pages", summary, responses, parameters)


def _open(
    name: str, tag: str, summary: str, responses: Json, parameters: Iterable[Json] = ()
) -> Json:
    return {"get": operation(name, tag, summary, "", _ANYBODY, responses, parameters=parameters)}
