"""What the routes without the API's prefix answer: probes, pages and what pages load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.http.openapi.parts import (
    ANYBODY,
    CACHED,
    OPERATOR,
    OPERATOR_REFUSALS,
    answer,
    headers,
    html,
    json,
    operation,
    path_part,
    problems,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.http.openapi.examples import Json


def probe_paths() -> Json:
    """Give the paths that machines ask."""
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


def page_paths() -> Json:
    """Give the paths of the pages, and of what they load."""
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
        OPERATOR,
        {"200": json("ConsoleContext"), **problems(*OPERATOR_REFUSALS)},
    )
    console_at: Json = {"description": "Where it is.", "schema": {"const": "/console"}}
    to_console = {"description": "To the console.", "headers": headers() | {"Location": console_at}}
    return {
        "/": _open("root", "Pages", "The console's address", {"302": to_console}),
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
    return {"get": operation(name, tag, summary, "", ANYBODY, responses, parameters=parameters)}
