"""Real answers of every route are what the document says: status, headers, body."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from service.http.server import PREFIX
from tests.http.conftest import (
    ACCOUNT,
    APP_SECRET,
    INBOX_KEY,
    OPERATOR_KEY,
    OTHER,
    TOKEN,
    USER,
    Client,
    Start,
)
from tests.http.test_openapi import DOCUMENT, flat, operations, resolved, validator

LIVE_PICTURE = "https://scontent.cdninstagram.com/v/p.jpg?oe=7FFFFFFF"
TOO_MUCH = b" " * (1024 * 1024 + 1)


@dataclass
class Witness:
    """Calls routes and holds each answer against the document."""

    client: Client
    seen: set[tuple[str, str]] = field(default_factory=set)

    async def ask(
        self,
        asked: str,
        status: int,
        *,
        key: str | None = OPERATOR_KEY,
        headers: dict[str, str] | None = None,
        in_path: str = USER,
        **request: Any,  # noqa: ANN401 - aiohttp's arguments
    ) -> bytes:
        """Call `METHOD /path`, the parameter in it replaced; fails unless all is as documented."""
        method, template = asked.split(" ")
        url = self.client.url.removesuffix(PREFIX) + re.sub(r"\{\w+\}", in_path, template)
        sent = ({"Authorization": f"Bearer {key}"} if key else {}) | (headers or {})
        async with self.client.session.request(
            method, url, headers=sent, allow_redirects=False, **request
        ) as response:
            body = await response.read()
            assert response.status == status, (asked, response.status, body)
            self.check(asked, str(status), response.headers, body)
        return body

    def check(self, asked: str, status: str, headers: Mapping[str, str], body: bytes) -> None:
        method, template = asked.split(" ")
        operation = DOCUMENT["paths"][template][method.lower()]
        described = resolved(operation["responses"][status])
        for name, header in described["headers"].items():
            schema = resolved(header)["schema"]
            given = headers[name]
            validator(schema).validate(int(given) if schema.get("type") == "integer" else given)
        content = described.get("content")
        if content is None:
            assert body == b""
        else:
            self.check_body(content, headers["Content-Type"].partition(";")[0], body)
        self.seen.add((operation["operationId"], status))

    def check_body(self, content: dict[str, Any], media_type: str, body: bytes) -> None:
        media = content[media_type]
        value = json.loads(body) if media_type.endswith("json") else body.decode()
        validator(media["schema"]).validate(value)
        assert not list(undocumented(value, media["schema"]))


def undocumented(value: object, schema: dict[str, Any]) -> Iterator[str]:
    """Name the members of an answer that the document does not."""
    choices = [flat(resolved(each)) for each in schema.get("anyOf", [schema])]
    known = {name: each for one in choices for name, each in one.get("properties", {}).items()}
    if isinstance(value, dict) and known:
        yield from value.keys() - known.keys()
        for name in value.keys() & known.keys():
            yield from undocumented(value[name], known[name])
    elif isinstance(value, list):
        for each in value:
            yield from undocumented(each, choices[0].get("items", {}))


@pytest.fixture
async def graph() -> AsyncIterator[GraphSimulator]:
    async with GraphSimulator(app_secret=APP_SECRET) as graph:
        graph.add_account(ACCOUNT, TOKEN)
        yield graph


@pytest.fixture
async def witness(start: Start, graph: GraphSimulator) -> Witness:
    """Start a service with a Graph that answers."""
    return Witness(await start(graph_base_url=graph.url, instagram_graph_base_url=graph.url))


def api(asked: str) -> str:
    return asked.replace(" ", f" {PREFIX}", 1)


async def test_real_answers_fit_the_document(witness: Witness, db: asyncpg.Connection) -> None:
    await meta(witness)
    await connections(witness)
    await people(witness, db)
    await operating(witness, db)
    await pages(witness)
    await refusals(witness)
    good = {name for name, status in witness.seen if status in {"200", "204", "302"}}
    assert good == {operation["operationId"] for _, _, operation in operations()}


async def meta(witness: Witness) -> None:
    known = {"hub.verify_token": "a-verify-token-for-tests", "hub.challenge": "1158201444"}
    await witness.ask(api("GET /webhook"), 200, key=None, params=known)
    await witness.ask(api("GET /webhook"), 403, key=None)
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(USER, ACCOUNT)))
    for sent, status in ((body, 200), (b"[]", 400), (TOO_MUCH, 413)):
        signed = samples.signed_headers(sent, APP_SECRET)
        await witness.ask(
            api("POST /webhook"), status, key=None, data=io.BytesIO(sent), headers=signed
        )
    await witness.ask(api("POST /webhook"), 401, key=None, data=body)


async def connections(witness: Witness) -> None:
    put, one = api("PUT /connections/{igAccountId}"), api("DELETE /connections/{igAccountId}")
    body = {"locationId": "loc_1", "accessToken": TOKEN, "aliasIds": ["178414"]}
    await witness.ask(put, 200, in_path=ACCOUNT, json=body)
    await witness.ask(put, 409, in_path="178414", json=body)
    await witness.ask(put, 400, in_path=ACCOUNT, json={})
    await witness.ask(put, 413, in_path=ACCOUNT, data=io.BytesIO(TOO_MUCH))
    await witness.ask(put, 412, in_path=ACCOUNT, json=body, headers={"If-None-Match": "*"})
    change = api("PATCH /connections/{igAccountId}")
    await witness.ask(change, 200, in_path=ACCOUNT, json={"locationId": "loc_1"})
    await witness.ask(change, 404, in_path="404", json={})
    await witness.ask(api("GET /connections"), 200)
    await witness.ask(put, 200, in_path="99", json=body | {"aliasIds": []})
    await witness.ask(one, 204, in_path="99")
    await witness.ask(one, 404, in_path="99")
    await witness.ask(one, 400, in_path="x")


async def people(witness: Witness, db: asyncpg.Connection) -> None:
    one, many = api("GET /users/{igUserId}"), api("GET /users")
    await witness.ask(one, 200, key=INBOX_KEY)
    await witness.ask(one, 400, in_path="x")
    await witness.ask(many, 200, params={"ids": f"{USER},{OTHER},{USER}"})
    await witness.ask(many, 400)
    grant = json.loads(await witness.ask(api("POST /grants"), 200, key=INBOX_KEY))["grant"]
    await witness.ask(api("POST /grants"), 400, json={"expiresIn": 0})
    await witness.ask(api("POST /grants"), 413, data=io.BytesIO(TOO_MUCH))
    await watching(witness, db, grant)
    picture, known = api("GET /users/{igUserId}/picture"), {"grant": grant}
    await witness.ask(picture, 200, key=None, params=known, in_path="1")
    await witness.ask(picture, 200, key=None, params=known, in_path=OTHER)
    await witness.ask(picture, 401, key=None)
    announced = {"participants": [{"igAccountId": ACCOUNT, "igUserId": USER}, {}]}
    await witness.ask(api("POST /participants"), 200, json=announced)
    await witness.ask(api("POST /participants"), 400, json={"participants": []})


async def watching(witness: Witness, db: asyncpg.Connection, grant: str) -> None:
    events = api("GET /users/events")
    await witness.ask(events, 400, params={"ids": "x"})
    await witness.ask(events, 401, key=None, params={"grant": grant + "x"})
    async with witness.client.events(f"?ids={OTHER}") as stream:
        witness.check(events, "200", stream.response.headers, b"")
        await db.execute(
            "INSERT INTO instagram_user_cache (ig_user_id, username, profile_pic_url,"
            " last_fetched_at) VALUES ($1, 'jane.doe', $2, now())",
            OTHER,
            LIVE_PICTURE,
        )
        validator({"$ref": "#/components/schemas/Identity"}).validate(await stream.identity())


async def operating(witness: Witness, db: asyncpg.Connection) -> None:
    refresh, erase = api("POST /users/{igUserId}/refresh"), api("DELETE /users/{igUserId}")
    await witness.ask(refresh, 200)
    await witness.ask(refresh, 404, in_path="404")
    await witness.ask(refresh, 400, in_path="x")
    backfill = api("POST /messages/backfill")
    await witness.ask(backfill, 200, params={"locationId": "loc_1", "includeFailed": "true"})
    await witness.ask(backfill, 404, params={"locationId": "nowhere"})
    await witness.ask(backfill, 400, params={"locationId": "loc_1", "days": "91"})
    await witness.ask(api("GET /people"), 200, params={"limit": "1"})
    await witness.ask(api("GET /people"), 400, params={"cursor": "x"})
    await witness.ask(api("DELETE /pauses/{scope}"), 404, in_path="app")
    await db.execute("INSERT INTO instagram_pauses VALUES ('app', 'infinity', 'outage')")
    await witness.ask(api("DELETE /pauses/{scope}"), 204, in_path="app")
    await witness.ask(erase, 204)
    await witness.ask(api("POST /users/erase"), 200, json={"igUserIds": ["1", "2"]})
    await witness.ask(api("POST /users/erase"), 400, json={"igUserIds": []})
    await witness.ask(api("POST /users/erase"), 413, data=io.BytesIO(TOO_MUCH))
    await witness.ask(erase, 400, in_path="x")
    await witness.ask(api("GET /status"), 200)


async def pages(witness: Witness) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/console"):
        await witness.ask(f"GET {path}", 200, key=None)
    await witness.ask("GET /", 302, key=None)
    await witness.ask("GET /console/context", 200)
    await witness.ask("GET /static/{path}", 200, key=None, in_path="docs/docs.css")
    await witness.ask("GET /static/{path}", 404, key=None, in_path="docs/nothing.css")
    for path in ("/openapi.json", "/docs", "/console"):
        await witness.ask(f"GET {path}", 304, key=None, headers={"If-None-Match": "*"})


async def refusals(witness: Witness) -> None:
    """Ask every keyed route without a key, with a lesser one and, often, with a wrong one."""
    keyed = [(f"{m} {path}", op["responses"]) for m, path, op in operations() if op["security"]]
    for asked, responses in keyed:
        await witness.ask(asked, 401, key=None)
        if "403" in responses:
            await witness.ask(asked, 403, key=INBOX_KEY)
    for _ in range(20):
        await witness.client.call("GET", "/users/1", "a-wrong-key")
    for asked, _ in keyed:
        await witness.ask(asked, 429, key="a-wrong-key")


@pytest.mark.usefixtures("production_limits")
async def test_answers_without_postgres_fit_the_document(
    witness: Witness, db: asyncpg.Connection
) -> None:
    async with db.transaction():
        await db.execute("LOCK instagram_user_cache, instagram_participants, instagram_connections")
        body = samples.delivery(samples.entry(ACCOUNT, samples.message(USER, ACCOUNT)))
        signed = samples.signed_headers(body, APP_SECRET)
        await asyncio.gather(
            witness.ask(api("POST /webhook"), 503, key=None, data=body, headers=signed),
            witness.ask(api("GET /users"), 503, params={"ids": USER}),
            witness.ask(api("GET /connections"), 503),
        )


async def test_the_answer_while_draining_fits_the_document(witness: Witness) -> None:
    witness.client.running.health.is_draining = True
    await witness.ask("GET /readyz", 503, key=None)


async def test_a_refused_method_is_answered_as_the_document_says(client: Client) -> None:
    described = resolved(DOCUMENT["components"]["responses"]["MethodNotAllowed"])
    answer = await client.call("PATCH", "/status", OPERATOR_KEY)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET,HEAD"
    validator(described["content"]["application/problem+json"]["schema"]).validate(answer.json)
    assert described["headers"].keys() <= answer.headers.keys()


async def test_an_endless_pause_is_shown_with_a_time_zone(
    client: Client, db: asyncpg.Connection
) -> None:
    await client.connect_account()
    await db.execute(
        "INSERT INTO instagram_pauses (scope, until, reason) VALUES ($1, 'infinity', $2)",
        f"account:{ACCOUNT}",
        "token_invalid",
    )
    status = (await client.get("/status", key=OPERATOR_KEY)).json
    listed = (await client.get("/connections", key=OPERATOR_KEY)).json
    assert [pause["until"][-1] for pause in status["pauses"]] == ["Z"]
    assert [each["pausedUntil"][-1] for each in listed["connections"]] == ["Z"]


@pytest.mark.parametrize("location", ["a b", "é", "a\u00a0b", "a\u200bb"])
async def test_every_location_that_can_be_connected_can_be_backfilled(
    client: Client, location: str
) -> None:
    body = {"locationId": location, "accessToken": TOKEN}
    put = await client.call("PUT", f"/connections/{ACCOUNT}", OPERATOR_KEY, json=body)
    asked = {"locationId": location}
    backfill = await client.call("POST", "/messages/backfill", OPERATOR_KEY, params=asked)
    assert (put.status, backfill.status) == (200, 200)


async def test_a_newline_at_the_end_of_a_location_is_refused(client: Client) -> None:
    body = {"locationId": "loc_1\n", "accessToken": TOKEN}
    answer = await client.call("PUT", f"/connections/{ACCOUNT}", OPERATOR_KEY, json=body)
    assert answer.status == 400
