"""A problem tells a client what to do, and nothing of the inside."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from service.errors import UnavailableError
from service.http.problems import envelope

INSIDE = "postgresql://someone:password@10.0.0.1/x at /srv/service/app.py"


async def _crash(_: web.Request) -> web.Response:
    raise RuntimeError(INSIDE)


async def _away(_: web.Request) -> web.Response:
    raise UnavailableError(INSIDE)


async def _refuse(_: web.Request) -> web.Response:
    raise web.HTTPForbidden(reason="because of something", text=INSIDE)


@pytest.fixture
async def client() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    application = web.Application(middlewares=[envelope])
    application.router.add_get("/crash", _crash)
    application.router.add_get("/away", _away)
    application.router.add_get("/refuse", _refuse)
    async with TestClient(TestServer(application)) as made:
        yield made


@pytest.mark.parametrize(("path", "status"), [("/crash", 500), ("/away", 503), ("/refuse", 403)])
async def test_what_went_wrong_inside_stays_inside(
    client: TestClient[web.Request, web.Application], path: str, status: int
) -> None:
    async with client.get(path, headers={"Accept": "text/html"}) as answer:
        body = await answer.text()
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    for part in ("password", "10.0.0.1", "app.py", "RuntimeError", "Traceback"):
        assert part not in body
