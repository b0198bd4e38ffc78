"""Costly requests beyond a bound are refused, and others are served meanwhile."""

import asyncio

import asyncpg
import pytest

from service.http import operators
from service.http.concurrency import ConcurrencyLimit
from service.http.problems import ProblemError
from tests.http.conftest import ACCOUNT, OPERATOR_KEY, USER, Client
from tests.until import until

BACKFILL = "/messages/backfill?locationId=loc_1"


async def test_backfills_beyond_a_bound_are_refused_at_once(
    client: Client, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.resolving.on_request.BACKFILL_WAIT_S", 3600.0)
    await client.connect_account()
    await db.execute(
        "INSERT INTO instagram_participants VALUES ($1, $2, now(), now(), NULL)", ACCOUNT, USER
    )

    async def ask() -> int:
        answer = await client.call("POST", BACKFILL, OPERATOR_KEY)
        if answer.status == 503:
            answer.assert_problem(503)
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status

    asked = [asyncio.create_task(ask()) for _ in range(operators.MOST_BACKFILLS + 5)]

    async def refused() -> bool:
        return sum(task.done() for task in asked) == 5

    await until(refused)
    assert [task.result() for task in asked if task.done()] == [503] * 5
    await client.write(USER)
    await db.execute(  # and now they have what they waited for
        "INSERT INTO instagram_user_cache (ig_user_id, username, last_fetched_at)"
        " VALUES ($1, 'jane', now())",
        USER,
    )
    assert sorted(await asyncio.gather(*asked)) == [200] * operators.MOST_BACKFILLS + [503] * 5
    assert await ask() == 200


def test_what_has_ended_makes_room_however_it_ends() -> None:
    refreshes = ConcurrencyLimit(1, "refreshes", 2)
    with pytest.raises(ZeroDivisionError), refreshes.one():
        raise ZeroDivisionError
    with refreshes.one(), pytest.raises(ProblemError, match="Too many refreshes"), refreshes.one():
        pass
    with refreshes.one():
        pass
