"""Tokens are checked daily and renewed in time, whatever dies in between."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import structlog

from service.accounts.token_checks import TokenChecker
from service.graph.tokens import TokenCalls
from service.store.database import Database
from tests.accounts.world import START, TokenWorld, token_world

FB, IG = "17841400000000001", "17841400000000002"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[TokenWorld]:
    async with token_world(database) as world:
        yield world


@pytest.fixture
def checker(world: TokenWorld) -> TokenChecker:
    return world.checker()


async def connect_instagram(world: TokenWorld, days_left: float = 60) -> str:
    token = "IGAA-first-token-of-the-shop"
    ends_at_s = (world.clock() + days_left * DAY).timestamp()
    world.graph.add_token(token, ig_account_id=IG, login="instagram", ends_at_s=ends_at_s)
    await world.connect(IG, token, "instagram")
    return token


async def connect_facebook(world: TokenWorld, **debug: Any) -> str:  # noqa: ANN401 - JSON
    token = "EAAG-token-of-the-page"
    world.graph.add_account(FB)
    world.graph.add_token(token, ig_account_id=FB, debug=debug)
    await world.connect(FB, token)
    return token


async def test_a_facebook_token_is_inspected_and_its_account_named(
    world: TokenWorld, checker: TokenChecker
) -> None:
    ends_at = START + 90 * DAY
    await connect_facebook(world, data_access_expires_at=int(ends_at.timestamp()))
    assert await checker.check_due() == 1
    assert world.graph.token_calls == ["debug_token", "account"]
    assert await world.column(FB, "data_access_expires_at") == ends_at
    assert await world.column(FB, "token_expires_at") is None
    assert "instagram_basic" in str(await world.column(FB, "token_scopes"))
    assert await world.column(FB, "token_checked_at") == START
    assert await world.column(FB, "username") == world.graph.world.profile(FB)["username"]


async def test_a_check_is_due_daily(world: TokenWorld, checker: TokenChecker) -> None:
    await connect_facebook(world)
    checks = 0
    for _ in range(10 * 24):
        checks += await checker.check_due()
        world.clock.move(HOUR)
    assert 10 <= checks <= 12  # ten days, each check up to a tenth of a day early


async def test_one_replica_checks_for_all(world: TokenWorld) -> None:
    await connect_facebook(world)
    assert [await world.checker().check_due() for _ in range(3)] == [1, 0, 0]


async def test_a_replaced_token_is_checked_at_once(
    world: TokenWorld, checker: TokenChecker
) -> None:
    await connect_facebook(world)
    await checker.check_due()
    await world.database.fetch("UPDATE instagram_connections SET access_token = 'a plain one'")
    assert await checker.check_due() == 1


async def test_an_instagram_token_is_renewed_once_meta_accepts_the_new_one(
    world: TokenWorld, checker: TokenChecker
) -> None:
    first = await connect_instagram(world)
    await checker.check_due()
    assert await world.stored(IG) == first  # not 24 hours old
    world.clock.move(DAY)
    await checker.check_due()
    renewed = await world.stored(IG)
    assert renewed != first
    assert await world.column(IG, "token_expires_at") == world.clock() + 60 * DAY
    world.clock.move(25 * DAY)
    await checker.check_due()
    assert await world.stored(IG) == renewed  # 35 days are left
    world.clock.move(6 * DAY)
    await checker.check_due()
    assert await world.stored(IG) != renewed


async def test_a_renewed_token_that_meta_refuses_leaves_the_old_one(
    world: TokenWorld, checker: TokenChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await connect_instagram(world)
    world.clock.move(DAY)
    renew = TokenCalls.renew

    async def spoilt(calls: TokenCalls, token: str) -> Any:  # noqa: ANN401 - a struct
        renewed = await renew(calls, token)
        world.graph.set_answer("token_revoked", token=renewed.token)
        return renewed

    monkeypatch.setattr(TokenCalls, "renew", spoilt)
    await checker.check_due()
    assert await world.stored(IG) == first
    assert await world.column(IG, "token_status") == "active"


async def test_a_crash_after_the_renewal_loses_no_token(
    world: TokenWorld, checker: TokenChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await connect_instagram(world)
    world.graph.world.renewal_ends_old_token = True  # the worst that Meta might do
    world.clock.move(DAY)

    async def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TokenCalls, "try_token", die)
        with pytest.raises(KeyboardInterrupt):
            await checker.check_due()
    assert await world.stored(IG) == first  # which Meta refuses by now
    world.clock.move(HOUR)
    await world.checker().check_due()
    assert await world.stored(IG) != first
    assert await world.column(IG, "token_status") == "active"


async def test_a_dead_token_pauses_its_account_until_it_is_replaced(
    world: TokenWorld, checker: TokenChecker
) -> None:
    await connect_instagram(world, days_left=1)
    world.clock.move(2 * DAY)
    await checker.check_due()
    assert await world.column(IG, "token_status") == "invalid"
    (pause,) = await world.database.fetch("SELECT scope, reason FROM instagram_pauses")
    assert tuple(pause) == (f"account:{IG}", "token_invalid")
    (warning,) = await world.watch().read()
    assert warning.kind == "dead"


async def test_a_plain_token_is_not_renewed_unless_plain_tokens_are_sealed(
    world: TokenWorld, checker: TokenChecker
) -> None:
    token = await connect_instagram(world)
    await world.database.fetch("UPDATE instagram_connections SET access_token = $1", token)
    world.clock.move(40 * DAY)
    await checker.check_due()
    assert world.graph.world.renewals == []
    world.clock.move(DAY)
    await world.checker(seals=True).check_due()
    assert world.graph.world.renewals == [IG]
    assert await world.stored(IG) != token


async def test_a_check_that_meta_does_not_answer_is_repeated_within_the_hour_and_warned_of(
    world: TokenWorld, checker: TokenChecker
) -> None:
    await connect_facebook(world)
    world.graph.set_answer("http_503")
    await checker.check_due()
    assert await world.column(FB, "token_checked_at") is None
    (warning,) = await world.watch().read()
    assert warning.kind == "check_failed"
    world.graph.set_answer(None)
    world.clock.move(HOUR)
    assert await checker.check_due() == 1
    assert await world.watch().read() == []


async def test_no_token_is_ever_logged(world: TokenWorld, checker: TokenChecker) -> None:
    first = await connect_instagram(world)
    world.clock.move(DAY)
    with structlog.testing.capture_logs() as lines:
        await checker.check_due()
        renewed = await world.stored(IG)
        world.graph.set_answer("token_revoked", token=renewed)
        world.clock.move(DAY)
        await checker.check_due()
    assert [line["event"] for line in lines if "renewed" in line["event"]]
    assert not any(token in str(lines) for token in (first, renewed))
