"""Rows written by hand, with whatever their columns take: no background task ends by one of them.

Each task does its round; what a row makes impossible is left out, and the others go on.
"""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest

from service.accounts.leaving import AccountLeaver, Retention
from service.judgement.verdict import judge
from service.metrics import Metrics
from service.receiving.forwarding.forwarder import Forwarder
from service.receiving.forwarding.forwarding import forward_session
from service.receiving.forwarding.sealing import BodySeal
from service.store.connections import Connections
from service.store.database import Database
from service.store.leaving import Leavings
from service.store.outbox import Outbox
from service.store.recent import Recent
from tests.accounts.world import token_world
from tests.service.receiver import Receiver

TIMES = ("infinity", "-infinity", "20000-01-01", "294276-12-31 23:59:59+00", "4713-01-02 BC")
ACCOUNT = "17841400000000001"
HEADERS = ("null", "[1]", '"x"', '{"a": {}}', '{"a": 1e5000}', '{"a b\\n": "x\\r\\ny"}')
KEY = base64.urlsafe_b64encode(b"an encryption key of 32 bytes...").decode()
FORWARD = """
INSERT INTO instagram_forwards (delivery_id, address, headers, body, bytes, due_at, give_up_at)
VALUES ($1::uuid, $2, '{}', $3, 1, now() - interval '1 s', now() + interval '1 h')
"""


def of_times(*columns: str) -> list[str]:
    return [f"{column} = '{moment}'" for column in columns for moment in TIMES]


CONNECTIONS = (
    *of_times("updated_at", "token_expires_at", "data_access_expires_at", "token_checked_at"),
    *("token_scopes = '{NULL}'", "token_scopes = '{{a},{b}}'"),
    *("alias_ids = '{NULL}'", "alias_ids = '{{1},{2}}'"),
    *("access_token = ''", "access_token = 'v1.z'", r"access_token = E'a\nb'"),
    *(f"{c} = NULL" for c in ("updated_at", "location_id", "access_token", "token_status")),
)
PENDING = ("hello", "99999999999999999999 x", "-1 x", "1", "", "v1.x")
LEAVINGS = (*of_times("requested_at"), "erased = 9223372036854775807", "erased = -1")
FORWARDS = (
    *of_times("received_at", "due_at", "give_up_at", "set_aside_at"),
    *("attempts = 2147483647", "attempts = -2147483648", "bytes = 2147483647"),
    *("body = ''", r"body = '\xdeadbeef'", "only_user_id = 'x'"),
    *(f"headers = '{headers}'" for headers in HEADERS),
    "headers = (repeat('[', 3000) || repeat(']', 3000))::jsonb",
)


def account_id(number: int) -> str:
    return f"1784140000000{number:04}"


@pytest.mark.parametrize("login", ["facebook", "instagram"])
async def test_a_connection_stops_no_check_of_another(database: Database, login: str) -> None:
    for column in ("updated_at", "location_id", "access_token", "token_status"):
        await database.fetch(f"ALTER TABLE instagram_connections ALTER {column} DROP NOT NULL")
    async with token_world(database) as world:
        for number, change in enumerate(CONNECTIONS, start=1):
            account = account_id(number)
            world.graph.add_account(account, f"token-{account}", login=login)  # type: ignore[arg-type]
            await world.connect(account, f"token-{account}", login=login)
            await database.fetch(
                f"UPDATE instagram_connections SET {change} WHERE ig_account_id = $1",  # noqa: S608 - ours
                account,
            )
        good = account_id(0)
        world.graph.add_account(good, "a good token")
        await world.connect(good, "a good token")
        await world.watch().read()
        await world.checker(seals=True).check_due()
        assert await world.column(good, "token_checked_at") == world.clock()
        connections = Connections(database, world.vault, seals_plain=True)
        await connections.take_over()
        assert (await connections.read_directory())[good] == good


async def test_a_renewed_token_that_nobody_wrote_leaves_the_old_one_in_use(
    database: Database,
) -> None:
    async with token_world(database) as world:
        for number in range(len(PENDING)):
            account = account_id(number)
            world.graph.add_account(account, f"token-{account}", login="instagram")
            await world.connect(account, f"token-{account}", login="instagram")
        await world.checker().check_due()
        for number, pending in enumerate(PENDING):
            await database.fetch(
                "UPDATE instagram_token_checks SET due_at = '2000-01-01', pending_token = $2"
                " WHERE ig_account_id = $1",
                account_id(number),
                pending,
            )
        world.clock.move(timedelta(days=1))
        await world.checker().check_due()
        for number in range(len(PENDING)):
            assert await world.column(account_id(number), "token_checked_at") == world.clock()


async def test_every_leaving_account_leaves(database: Database) -> None:
    for number, change in enumerate(LEAVINGS):
        account = account_id(number)
        await database.fetch(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id) VALUES ($1, $1)",
            account,
        )
        await database.fetch("INSERT INTO instagram_leavings (ig_account_id) VALUES ($1)", account)
        await database.fetch(
            f"UPDATE instagram_leavings SET {change} WHERE ig_account_id = $1",  # noqa: S608 - ours
            account,
        )
    leavings = Leavings(database)
    assert len(await leavings.list_leavings()) == len(LEAVINGS)
    leaver = AccountLeaver(leavings, lambda _: None)
    while account := await leavings.claim():  # type: ignore[assignment]
        await leaver._empty(account)
    assert await database.fetch("SELECT FROM instagram_participants") == []
    assert await leavings.list_leavings() == []


async def test_a_verdict_is_reached_over_any_pause_and_error(database: Database) -> None:
    for number, moment in enumerate(TIMES):
        await database.fetch(
            "INSERT INTO instagram_pauses (scope, until, reason)"
            " VALUES ($1, $2::text::timestamptz, 'unheard of')",
            f"account:{account_id(number)}",
            moment,
        )
    for number, error in enumerate(('{"reason": {"a": 1}}', "[]", "null", '{"code": 1e500}')):
        user = str(number)
        await database.fetch(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id) VALUES ($1, $2)",
            ACCOUNT,
            user,
        )
        await database.fetch(
            "INSERT INTO instagram_user_cache (ig_user_id, fail_count, last_error)"
            " VALUES ($1, 2147483647, $2::text::jsonb)",
            user,
            error,
        )
    figures = await Recent(database).read()
    assert {pause.reason for pause in figures.pauses} >= {"unheard of"}
    assert judge(figures).sentences


async def test_a_message_of_any_time_does_not_stop_retention(database: Database) -> None:
    for number, moment in enumerate((*TIMES, "2020-01-01")):
        await database.fetch(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id, last_message_at)"
            " VALUES ($1, $2, $3::text::timestamptz)",
            ACCOUNT,
            str(number),
            moment,
        )
    await Retention(Leavings(database), lambda _: None, 30).sweep(datetime.now(UTC))
    left = await database.fetch("SELECT ig_user_id FROM instagram_participants")
    assert str(len(TIMES)) not in {row["ig_user_id"] for row in left}


async def test_a_forward_stops_no_other(database: Database) -> None:
    seal, outbox = BodySeal((KEY,)), Outbox(database, 10**10)
    async with Receiver() as receiver, forward_session() as session:
        for number, change in enumerate((*FORWARDS, "attempts = 0")):
            delivery_id = f"00000000-0000-4000-8000-{number:012}"
            await database.fetch(
                FORWARD, delivery_id, receiver.url, seal.seal(b"%d" % number, delivery_id)
            )
            await database.fetch(
                f"UPDATE instagram_forwards SET {change} WHERE delivery_id = $1::uuid",  # noqa: S608 - ours
                delivery_id,
            )
        urls = {receiver.url: receiver.url}
        forwarder = Forwarder(outbox, seal, session, urls, Metrics())
        await forwarder._measure()
        while claimed := await forwarder._claim(receiver.url, 8):
            await asyncio.gather(*(forwarder._forward(receiver.url, each) for each in claimed))
        assert b"%d" % len(FORWARDS) in {post.body for post in receiver.posts}
        leased = "SELECT FROM instagram_forwards WHERE lease IS NOT NULL"
        assert await database.fetch(leased) == []
        await forwarder._expire()
        assert forwarder.backlogs[receiver.url].oldest_s >= 0
