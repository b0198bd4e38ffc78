"""The document is sound, and says of every route that there is, and of no other, what it does."""

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import web

from service import app
from service.http.pages import OPENAPI
from service.http.server import PREFIX, serve
from tests.http.conftest import Client, Start

DOCUMENT: dict[str, Any] = json.loads(OPENAPI.read_bytes())
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method in item:
            yield method.upper(), path, item[method]


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = DOCUMENT
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return resolved(found)


def flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Put what `allOf` combines into one schema."""
    if "allOf" not in schema:
        return schema
    parts = [flat(resolved(part)) for part in schema["allOf"]]
    return {
        "type": "object",
        "properties": {name: each for part in parts for name, each in part["properties"].items()},
        "required": [name for part in parts for name in part["required"]],
    }


def references(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    whole = schema | {"components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every described body of a request or an answer, and where it stands."""
    for method, path, operation in operations():
        described = {**operation["responses"], "request": operation.get("requestBody", {})}
        for name, body in described.items():
            for media in resolved(body).get("content", {}).values():
                yield f"{method} {path} {name}", media


OPERATIONS = [pytest.param(op, id=f"{method} {path}") for method, path, op in operations()]


@pytest.fixture
async def routes(monkeypatch: pytest.MonkeyPatch, start: Start) -> set[str]:
    """Give the routes of the application that the service really serves."""
    served: list[web.Application] = []

    def noting(
        application: web.Application,
        *where: Any,  # noqa: ANN401 - passed on
        **how: Any,  # noqa: ANN401 - passed on
    ) -> AbstractAsyncContextManager[int]:
        served.append(application)
        return serve(application, *where, **how)

    monkeypatch.setattr(app, "serve", noting)
    await start()
    [application] = served
    return {
        f"{route.method} {route.resource.canonical}"
        for route in application.router.routes()
        if route.resource and route.method not in ("HEAD", "OPTIONS")  # of the GET beside them
    }


async def test_every_route_is_documented_and_nothing_else(routes: set[str]) -> None:
    assert routes == {f"{method} {path}" for method, path, _ in operations()}


def test_the_document_is_valid_openapi() -> None:
    import schemathesis  # noqa: PLC0415 - it takes 0.4 s, which the other workers save

    schemathesis.openapi.from_dict(DOCUMENT).validate()
    broken = DOCUMENT | {"paths": {"/x": {"get": {"parameters": 1}}}}
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict(broken).validate()


def test_every_reference_leads_somewhere() -> None:
    found = [resolved(node) for node in references(DOCUMENT)]
    assert len(found) > 100


def test_references_lead_to_components_by_name_which_every_generator_can_follow() -> None:
    named = re.compile(r"#/components/(schemas|responses|headers|parameters|examples)/\w+")
    assert not [node for node in references(DOCUMENT) if not named.fullmatch(node["$ref"])]


def test_every_choice_of_texts_has_one_name() -> None:
    """A generator makes a class for each place where an `enum` stands."""
    named = [set(schema["enum"]) for schema in SCHEMAS.values() if "enum" in schema]
    text = OPENAPI.read_text()
    assert text.count('"enum":') == len(named)
    assert len({frozenset(choice) for choice in named}) == len(named)


def test_every_schema_is_one() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema), name
        validator(schema)


def test_every_json_body_has_examples_and_they_fit() -> None:
    counted = 0
    for where, media in bodies():
        is_json = media["schema"].get("$ref") is not None
        examples = [resolved(each)["value"] for each in media.get("examples", {}).values()]
        examples += [media["example"]] if "example" in media else []
        assert examples or not is_json, where
        for example in examples:
            validator(media["schema"]).validate(example)
            counted += 1
    assert counted > 50


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_summed_up_and_says_who_may_use_it(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    schemes = {name for each in operation["security"] for name in each}
    assert schemes <= DOCUMENT["components"]["securitySchemes"].keys()
    can_be_guessed = bool(schemes) or operation["operationId"] == "verifyWebhook"
    assert ("429" in operation["responses"]) == can_be_guessed
    assert ("403" in operation["responses"] and "inboxKey" in schemes) is False


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_answer_names_its_headers(operation: dict[str, Any]) -> None:
    is_keyed = bool(operation["security"])
    for status, response in operation["responses"].items():
        headers = resolved(response)["headers"]
        assert "X-Request-ID" in headers
        is_problem = "application/problem+json" in resolved(response).get("content", {})
        assert ("Retry-After" in headers) == (status in {"429", "503"} and is_problem)
        assert ("WWW-Authenticate" in headers) == (status == "401" and is_keyed)
        assert ("Location" in headers) == (status == "302")


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert DOCUMENT["info"]["version"] == project["project"]["version"]


def test_no_schema_tells_a_token() -> None:
    shown = DOCUMENT["components"]["schemas"]["Connection"]["properties"]
    about_tokens = {name for name in shown if "token" in name.lower()}
    assert about_tokens == {"tokenStatus", "tokenExpiresAt", "tokenCheckedAt"}


async def test_it_is_served_without_a_key_and_kept_by_its_tag(client: Client) -> None:
    url = client.url.removesuffix(PREFIX) + "/openapi.json"
    async with client.session.get(url) as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        assert await response.json() == DOCUMENT
        tag = response.headers["ETag"]
    async with client.session.get(url, headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
