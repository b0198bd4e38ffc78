"""The parts that an operation of the OpenAPI document is put together from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.http.openapi.examples import EXAMPLES
from service.http.openapi.schemas import schema_ref

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.http.openapi.examples import Json

TEXT: Json = {"type": "string"}
CACHED = ("Cache-Control", "ETag")

INBOX: list[Json] = [{"inboxKey": []}, {"operatorKey": []}]
OPERATOR: list[Json] = [{"operatorKey": []}]
BROWSER: list[Json] = [*INBOX, {"grant": []}]
ANYBODY: list[Json] = []

OPERATOR_REFUSALS = ("401", "403", "429")

_PROBLEMS = {
    "400": "BadRequest",
    "401": "Unauthorized",
    "403": "Forbidden",
    "404": "NotFound",
    "408": "RequestTimeout",
    "409": "Conflict",
    "412": "PreconditionFailed",
    "413": "ContentTooLarge",
    "422": "UnprocessableContent",
    "429": "TooManyRequests",
    "503": "ServiceUnavailable",
}


def operation(
    name: str,
    tag: str,
    summary: str,
    description: str,
    security: list[Json],
    responses: Json,
    *,
    parameters: Iterable[Json] = (),
    body: str = "",
    is_body_optional: bool = False,
) -> Json:
    """Describe an operation; `body` is the name of a schema."""
    more: Json = {"description": description, "parameters": list(parameters)}
    if body:
        content = {"application/json": _media(body)}
        more["requestBody"] = {"required": not is_body_optional, "content": content}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        **{key: value for key, value in more.items() if value},
        "security": security,
        "responses": dict(sorted(responses.items())),
    }


def query(name: str, schema: Json, description: str, **more: object) -> Json:
    """Describe a parameter of the query."""
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def header(name: str, schema: Json, description: str, **more: object) -> Json:
    """Describe a parameter in a header."""
    return {"name": name, "in": "header", "description": description, "schema": schema, **more}


def path_part(name: str, schema: Json, description: str) -> Json:
    """Describe a parameter in the path."""
    where = {"name": name, "in": "path", "required": True}
    return {**where, "description": description, "schema": schema}


def comma_list(name: str, items: Json, most: int, description: str, **more: object) -> Json:
    """Describe a parameter of the query that takes `a,b,c`."""
    schema: Json = {"type": "array", "items": items, "minItems": 1, "maxItems": most}
    return query(name, schema, description, style="form", explode=False, **more)


def problem(name: str) -> Json:
    """Point at one of the problems that components/responses names."""
    return {"$ref": f"#/components/responses/{name}"}


def problems(*statuses: str) -> dict[str, object]:
    """Point at the usual problem of each status."""
    return {status: problem(_PROBLEMS[status]) for status in statuses}


def json(schema: str, description: str = "As asked.", *names: str) -> Json:
    """Describe an answer in JSON with the example of that schema."""
    content = {"application/json": _media(schema)}
    return {"description": description, "headers": headers(*names), "content": content}


def text(description: str) -> Json:
    """Describe an answer in plain text."""
    return answer("text/plain", TEXT, description)


def html(description: str) -> Json:
    """Describe a page."""
    return answer("text/html", TEXT, description, *CACHED, "Content-Security-Policy")


def empty(description: str) -> Json:
    """Describe an answer without a body."""
    return {"description": description, "headers": headers()}


def answer(media_type: str, schema: Json, description: str, *names: str) -> Json:
    """Describe an answer and which headers it has beside `X-Request-ID`."""
    content = {media_type: {"schema": schema}}
    return {"description": description, "headers": headers(*names), "content": content}


def headers(*names: str) -> Json:
    """Point at `X-Request-ID` and the named headers."""
    return {
        name: {"$ref": f"#/components/headers/{name.replace('-', '')}"}
        for name in ("X-Request-ID", *names)
    }


def _media(schema: str) -> Json:
    examples = {name: {"value": value} for name, value in EXAMPLES[schema].items()}
    return {"schema": schema_ref(schema), "examples": examples}
