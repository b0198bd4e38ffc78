"""API keys: the routes that each role opens, the limit of guesses, and valid keys always pass."""

import asyncio

import msgspec
import pytest

from service.http.guesses import WRONG_A_MINUTE
from tests.faults.rigs import Machines, forked_rig
from tests.system.chaos.rig import Answer, Rig, new_user

pytestmark = pytest.mark.asyncio(loop_scope="session")

INBOX = ("GET", "/users/1")
OPERATORS = (
    ("DELETE", "/users/1"),
    ("POST", "/users/1/refresh"),
    ("POST", "/messages/backfill?locationId=rig"),
    ("GET", "/connections"),
    ("PUT", "/connections/1"),
    ("DELETE", "/connections/1"),
    ("GET", "/status"),
)


async def _ask(made: Rig, route: tuple[str, str], key: str | None) -> Answer:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return await made.ask(*route, headers=headers)


@pytest.mark.parametrize("route", [INBOX, ("GET", "/users?ids=1"), *OPERATORS], ids=" ".join)
async def test_no_route_opens_without_a_key(shared_rig: Rig, route: tuple[str, str]) -> None:
    answer = await _ask(shared_rig, route, None)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", OPERATORS, ids=" ".join)
async def test_an_inbox_key_opens_no_operators_route(
    shared_rig: Rig, route: tuple[str, str]
) -> None:
    assert (await _ask(shared_rig, route, shared_rig.keys.inbox)).status == 403


async def test_an_operators_key_opens_the_inboxs_routes(shared_rig: Rig) -> None:
    assert (await _ask(shared_rig, INBOX, shared_rig.keys.operator)).status == 200


async def test_guesses_are_limited_and_the_right_key_never_is(machines: Machines) -> None:
    async with forked_rig(*machines) as made:
        await made.start_services()
        guesses = [
            (await _ask(made, INBOX, f"guess-number-{n:010}")).status
            for n in range(WRONG_A_MINUTE + 5)
        ]
        assert guesses == [401] * WRONG_A_MINUTE + [429] * 5
        under_attack = await asyncio.gather(
            *(_ask(made, INBOX, key) for key in (made.keys.inbox, "guess" * 4) * 50)
        )
        assert [answer.status for answer in under_attack] == [200, 429] * 50
        limited = under_attack[1]
        assert int(limited.headers["Retry-After"]) > 0
        assert (await made.write_as(new_user())).status == 200


async def test_a_refusal_says_nothing_of_the_keys(shared_rig: Rig) -> None:
    almost = shared_rig.keys.inbox[:-1] + "~"
    refusals = [await _ask(shared_rig, INBOX, key) for key in (almost, "x", "x" * 5000)]
    said = {msgspec.json.decode(answer.body)["detail"] for answer in refusals}
    assert {answer.status for answer in refusals} == {401}
    assert len(said) == 1
