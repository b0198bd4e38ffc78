"""The OpenAPI document: who may use the API, what it answers, what its errors are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service import VERSION
from service.http.openapi.parts import headers
from service.http.openapi.paths import paths
from service.http.openapi.schemas import schema_ref, schemas
from service.http.pages import Static, content_security_policy
from service.http.problems import json_body

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from service.http.openapi.examples import Json

_ABOUT = """\
Gives a name to every stranger in an Instagram inbox: Meta's webhooks come in, profiles are fetched
once and kept, and the Inbox asks who somebody is.

**Keys.** `Authorization: Bearer KEY`. An operator's key opens the Inbox's routes too. After 20
wrong keys in a minute from one address, its wrong keys get 429; right keys always pass. A browser
never gets a key: make a *grant* for it.

**Errors** are `application/problem+json` (RFC 9457). A path that is none is 404; a method that a
path does not take is 405 with `Allow`; where PostgreSQL does not answer in time it is 503 with
`Retry-After`, within 3 seconds. A GET route takes HEAD as well, but for the events. Parameters that
are not named here are ignored.

**Request ids.** Every answer carries `X-Request-ID`: the one you sent (1 to 64 of
`A-Z a-z 0-9 . _ -`), else a new one. The log has it too.

**Ids** are 1 to 32 digits, as text. Times are RFC 3339, in UTC.
"""

_TAGS = [
    {"name": "Inbox", "description": "Who is this? For the Inbox's servers, and its browsers."},
    {"name": "Operations", "description": "For operators and their tools."},
    {"name": "Meta", "description": "What Meta calls. No key: a token and a signature."},
    {"name": "Probes", "description": "For the orchestrator and Prometheus."},
    {"name": "Pages", "description": "For people."},
]

_SECURITY: Json = {
    "inboxKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of INBOX_API_KEYS.",
    },
    "operatorKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of OPERATOR_API_KEYS.",
    },
    "grant": {
        "type": "apiKey",
        "in": "query",
        "name": "grant",
        "description": "From `POST /grants`; for browsers.",
    },
}

_SECONDS: Json = {"type": "integer", "minimum": 0}
_HEADERS: Json = {
    "XRequestID": {
        "description": "The request's id, as in the log.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "RetryAfter": {
        "description": "Seconds to wait before trying again.",
        "required": True,
        "schema": _SECONDS,
    },
    "Allow": {
        "description": "The methods that the path takes.",
        "required": True,
        "schema": {"type": "string", "examples": ["GET,HEAD"]},
    },
    "WWWAuthenticate": {
        "description": "How to identify yourself.",
        "required": True,
        "schema": {"const": "Bearer"},
    },
    "CacheControl": {
        "description": "How long a copy may be kept.",
        "required": True,
        "schema": {"type": "string", "examples": ["no-cache"]},
    },
    "ETag": {
        "description": "The version; send it back in `If-None-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32,64}(-gzip)?"$'},
    },
    "ContentSecurityPolicy": {
        "description": "What the page may load: nothing from elsewhere.",
        "required": True,
        "schema": {"type": "string", "pattern": "^default-src '(self|none)';"},
    },
    "AccessControlAllowOrigin": {
        "description": "Pages of any origin may read it.",
        "required": True,
        "schema": {"const": "*"},
    },
    "CrossOriginResourcePolicy": {
        "description": "Pages of any origin may show it.",
        "required": True,
        "schema": {"const": "cross-origin"},
    },
    "XContentTypeOptions": {
        "description": "The content type is what it says.",
        "required": True,
        "schema": {"const": "nosniff"},
    },
    "Location": {
        "description": "An https address on Meta's hosts.",
        "required": True,
        "schema": {"type": "string", "format": "uri", "pattern": "^https://"},
    },
}

_RESPONSES: dict[str, tuple[int, str, str, str]] = {
    "BadRequest": (400, "Bad Request", "igUserId is 1 to 32 digits.", ""),
    "Unauthorized": (401, "Unauthorized", "The API key is not valid.", "WWW-Authenticate"),
    "BadSignature": (401, "Unauthorized", "The signature does not match.", ""),
    "Forbidden": (403, "Forbidden", "This route needs an operator key.", ""),
    "NotFound": (404, "Not Found", "There is no such connection.", ""),
    "MethodNotAllowed": (
        405,
        "Method Not Allowed",
        "The route does not take this method.",
        "Allow",
    ),
    "RequestTimeout": (408, "Request Timeout", "The body did not arrive in time.", ""),
    "Conflict": (
        409,
        "Conflict",
        "An id belongs to the connection 17841400000000002 already.",
        "",
    ),
    "PreconditionFailed": (
        412,
        "Precondition Failed",
        "The account is connected already.",
        "",
    ),
    "UnprocessableContent": (
        422,
        "Unprocessable Entity",
        "Meta refuses this token: Session has expired. (code 190). Nothing was changed.",
        "",
    ),
    "ContentTooLarge": (413, "Content Too Large", "The body is over 1 MiB.", ""),
    "TooManyRequests": (
        429,
        "Too Many Requests",
        "Too many wrong keys from this address; wait a minute.",
        "Retry-After",
    ),
    "ServiceUnavailable": (
        503,
        "Service Unavailable",
        "The database does not answer right now; try again.",
        "Retry-After",
    ),
}


def document(prefix: str) -> Json:
    """Write the whole document; `prefix` is that of the API's own paths."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Instagram identity",
            "version": VERSION,
            "summary": "Gives a name to every stranger in an Instagram inbox.",
            "description": _ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": _TAGS,
        "paths": paths(prefix),
        "components": {
            "schemas": schemas(),
            "headers": _HEADERS,
            "responses": {name: _response(name) for name in _RESPONSES},
            "securitySchemes": _SECURITY,
        },
    }


def document_route(prefix: str) -> Handler:
    """Make the handler of `GET /openapi.json`."""
    return Static(json_body(document(prefix)), ".json", content_security_policy()).answer


def _response(name: str) -> Json:
    status, title, detail, header = _RESPONSES[name]
    example = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "requestId": "9f86d081884c7d65",
    }
    return {
        "description": title,
        "headers": headers(header) if header else headers(),
        "content": {
            "application/problem+json": {"schema": schema_ref("Problem"), "example": example}
        },
    }
