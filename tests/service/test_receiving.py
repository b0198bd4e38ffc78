"""Deliveries: what is acknowledged, what is refused, and who becomes a participant."""

import asyncio
import gzip
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import structlog

from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from sandbox.postgres.server import EmbeddedPostgres
from service.http import health
from service.store import identities, journal
from service.store.database import Database as ServiceDatabase
from service.store.migration import migrate
from service.vault import Vault
from tests.service.conftest import (
    ACCOUNT,
    API,
    APP_SECRET,
    ENCRYPTION_KEY,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    VERIFY_TOKEN,
    Client,
    Database,
    Start,
    fetch_row,
    new_user,
)
from tests.until import until

MIB = 1024 * 1024
A_MOMENT_S = 0.3
PARTICIPANTS = "SELECT ig_account_id, ig_user_id FROM instagram_participants"


async def participants(db: Database) -> set[tuple[str, str]]:
    return {(row["ig_account_id"], row["ig_user_id"]) for row in await db.fetch(PARTICIPANTS)}


async def last_message_at(db: Database, user: str) -> float:
    found = await db.fetchval(
        "SELECT last_message_at FROM instagram_participants WHERE ig_user_id = $1", user
    )
    return float(found.timestamp())


def handshake(**changed: str) -> dict[str, str]:
    asked = {"mode": "subscribe", "challenge": "1158201444", "verify_token": VERIFY_TOKEN}
    return {f"hub.{name}": value for name, value in (asked | changed).items()}


async def test_the_handshake_returns_the_challenge_as_plain_text(client: Client) -> None:
    answer = await client.call("GET", f"{API}/webhook", params=handshake(challenge="<b>&1"))
    assert (answer.status, answer.body) == (200, b"<b>&1")
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("token", ["", "wrong", VERIFY_TOKEN + " ", "ünïcode\udcff"])
async def test_the_handshake_refuses_another_token(client: Client, token: str) -> None:
    query = handshake(verify_token=token.encode("utf-8", "surrogateescape").decode("latin-1"))
    (await client.call("GET", f"{API}/webhook", params=query)).assert_problem(403)


@pytest.mark.usefixtures("own_service")
async def test_guesses_of_the_verify_token_are_limited_and_the_right_one_never_is(
    client: Client,
) -> None:
    async def status(token: str) -> int:
        query = handshake(verify_token=token)
        return (await client.call("GET", f"{API}/webhook", params=query)).status

    assert [await status(f"guess {n}") for n in range(22)] == [403] * 20 + [429] * 2
    assert await status(VERIFY_TOKEN) == 200
    assert (await client.call("GET", f"{API}/users/1", key="a guess")).status == 401


async def test_the_handshake_refuses_a_call_without_a_token(client: Client) -> None:
    (await client.call("GET", f"{API}/webhook")).assert_problem(403)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        "sha256=é",
        "sha1={sha1}",
        "{right_hex}",
        "SHA256={right_hex}x",
    ],
)
async def test_a_delivery_that_is_not_signed_is_refused_and_leaves_nothing(
    client: Client, db: Database, signature: str | None
) -> None:
    user = new_user()
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(user, ACCOUNT)))
    right = samples.signed_headers(body, APP_SECRET)
    sha1 = right["X-Hub-Signature"].removeprefix("sha1=")
    right_hex = right["X-Hub-Signature-256"].removeprefix("sha256=")
    given = signature and signature.format(sha1=sha1, right_hex=right_hex)
    headers = {} if given is None else {"X-Hub-Signature-256": given}
    answer = await client.call("POST", f"{API}/webhook", data=body, headers=headers)
    answer.assert_problem(401)
    assert right_hex.encode() not in answer.body
    assert await participants(db) == set()


async def test_any_of_the_app_secrets_may_sign(start: Start) -> None:
    client = await start(meta_app_secrets=f"{APP_SECRET},the-older-app-secret")
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(new_user(), ACCOUNT)))
    assert (await client.post_webhook(body, "the-older-app-secret")).status == 200
    assert (await client.post_webhook(body, APP_SECRET)).status == 200
    (await client.post_webhook(body, "neither")).assert_problem(401)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b'{"object":',
        b"\xff\xfe{}",
        b'{"a":' + b"[" * 100_000,
        b'{"object":"instagram"}trailing',
    ],
    ids=lambda body: repr(body[:12]),
)
async def test_what_is_signed_but_not_a_json_object_is_400(client: Client, body: bytes) -> None:
    (await client.post_webhook(body)).assert_problem(400)


async def test_a_compressed_body_is_judged_by_the_bytes_as_received(
    client: Client, db: Database
) -> None:
    plain = samples.delivery(samples.entry(ACCOUNT, samples.message(new_user(), ACCOUNT)))
    packed = gzip.compress(plain)
    headers = samples.signed_headers(packed, APP_SECRET) | {"Content-Encoding": "gzip"}
    answer = await client.call("POST", f"{API}/webhook", data=packed, headers=headers)
    answer.assert_problem(400)
    headers = samples.signed_headers(plain, APP_SECRET) | {"Content-Encoding": "gzip"}
    answer = await client.call("POST", f"{API}/webhook", data=packed, headers=headers)
    answer.assert_problem(401)
    assert await participants(db) == set()


def padded(size: int) -> bytes:
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(new_user(), ACCOUNT)))
    return body + b" " * (size - len(body))


async def test_a_body_of_1_mib_is_taken_and_one_byte_more_is_413(client: Client) -> None:
    assert (await client.post_webhook(padded(MIB))).status == 200
    (await client.post_webhook(padded(MIB + 1))).assert_problem(413)


async def test_a_body_without_a_length_is_413_over_1_mib(client: Client) -> None:
    body = padded(MIB + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    headers = samples.signed_headers(body, APP_SECRET)
    answer = await client.call("POST", f"{API}/webhook", data=pieces(), headers=headers)
    answer.assert_problem(413)


async def test_a_body_without_a_length_is_taken_within_1_mib(client: Client, db: Database) -> None:
    user = new_user()
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(user, ACCOUNT)))

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:40]
        yield body[40:]

    headers = samples.signed_headers(body, APP_SECRET)
    answer = await client.call("POST", f"{API}/webhook", data=pieces(), headers=headers)
    assert answer.status == 200
    assert await participants(db) == {(ACCOUNT, user)}


KINDS: dict[str, Callable[[str, str], samples.JsonObject]] = {
    "message": samples.message,
    "attachment": samples.attachment,
    "deleted": samples.deleted,
    "unsupported": samples.unsupported,
    "postback": samples.postback,
    "reaction": samples.reaction,
    "referral": samples.referral,
    "optin": samples.optin,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_dm_makes_a_participant_in_every_container(
    client: Client, db: Database, kind: str
) -> None:
    users = [new_user() for _ in range(4)]
    items = [KINDS[kind](user, ACCOUNT) for user in users]
    body = samples.delivery(
        samples.entry(ACCOUNT, items[0]),
        samples.standby_entry(ACCOUNT, items[1]),
        samples.changes_entry(ACCOUNT, samples.change("messages", items[2])),
        samples.flat_entry(ACCOUNT, "messaging_postbacks", items[3]),
    )
    assert (await client.post_webhook(body)).status == 200
    assert await participants(db) == {(ACCOUNT, user) for user in users}


async def test_an_echo_makes_its_recipient_the_participant(client: Client, db: Database) -> None:
    user = new_user()
    await client.deliver(samples.echo(ACCOUNT, user))
    assert await participants(db) == {(ACCOUNT, user)}


async def test_what_is_not_a_dm_is_acknowledged_and_makes_nobody(
    client: Client, db: Database, graph: GraphSimulator
) -> None:
    someone = new_user()
    items = (
        samples.read(someone, ACCOUNT),
        samples.message_edit(someone, ACCOUNT),
        samples.message_edit(None, None, num_edit=0),
        samples.thread_control(someone, ACCOUNT, "pass"),
        samples.thread_control(someone, ACCOUNT, "take"),
        samples.thread_control(someone, ACCOUNT, "request"),
        samples.app_roles(ACCOUNT),
        samples.self_message(ACCOUNT),
        samples.item(someone, ACCOUNT, None, poke={"of": "the future"}),
    )
    changes = (
        samples.change("comments", samples.comment(someone)),
        samples.change("mentions", samples.mention()),
        samples.change("story_insights", samples.story_insights()),
    )
    body = samples.delivery(
        samples.entry(ACCOUNT, *items),
        samples.standby_entry(ACCOUNT, *items),
        samples.changes_entry(ACCOUNT, *changes),
        samples.flat_entry(ACCOUNT, "comments", samples.comment(someone)),
    )
    assert (await client.post_webhook(body)).status == 200
    assert await participants(db) == set()
    assert graph.calls == []


@pytest.mark.parametrize(
    "field",
    ["messages", "standby", "messaging_postbacks", "message_reactions", "messaging_seen"],
)
async def test_the_dashboards_test_is_acknowledged_and_makes_nobody(
    client: Client, db: Database, field: str
) -> None:
    assert (await client.post_webhook(samples.dashboard_test(field))).status == 200
    assert await participants(db) == set()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"object": "page", "entry": [{"id": ACCOUNT, "messaging": [{"message": {}}]}]},
        {"object": "instagram"},
        {"object": "instagram", "entry": None},
        {"object": "instagram", "entry": {}},
        {"object": "instagram", "entry": [None, 7, "x", [], {}]},
        {"object": "instagram", "entry": [{"id": ACCOUNT, "messaging": "x", "changes": 7}]},
    ],
    ids=str,
)
async def test_an_odd_envelope_is_acknowledged(
    client: Client, db: Database, body: dict[str, object]
) -> None:
    assert (await client.post_webhook(json.dumps(body).encode())).status == 200
    assert await participants(db) == set()


async def test_a_body_full_of_unknown_fields_makes_a_short_line(client: Client) -> None:
    changes = [{"field": f"field {n} " + "x" * 100, "value": {}} for n in range(5000)]
    body = json.dumps({"object": "instagram", "entry": [{"id": ACCOUNT, "changes": changes}]})
    with structlog.testing.capture_logs() as logs:
        assert (await client.post_webhook(body.encode())).status == 200
    [line] = [line for line in logs if line["event"] == "items without a participant"]
    assert sum(line["skipped"].values()) == 5000
    assert len(json.dumps(line)) < 4000


def malformed(user: str) -> list[object]:
    """Make items that are no good, each in its own way."""
    good = samples.message(user, ACCOUNT)
    parties: list[object] = [None, 7, "x", [], {}, {"id": None}, {"id": ""}, {"id": "12a"}]
    parties += [{"id": "1" * 33}, {"id": -5}, {"id": 1.5}, {"id": True}, {"id": "١٢٣"}]
    items: list[object] = [None, 7, "text", [], {}, {"message": {}}]
    no_messages: list[object] = [None, 7, "x", []]
    items += [good | {"message": broken} for broken in no_messages]
    return items + [good | {"sender": party} for party in parties]


async def test_every_item_of_a_batch_of_a_thousand_is_judged_alone(
    client: Client, db: Database
) -> None:
    users = [new_user() for _ in range(900)]
    bad = malformed(new_user())
    items: list[object] = [samples.message(user, ACCOUNT) for user in users]
    for place in range(100):
        items.insert(place * 10, bad[place % len(bad)])
    body = json.dumps(
        {"object": "instagram", "entry": [{"id": ACCOUNT, "time": 1, "messaging": items}]}
    ).encode()
    assert len(items) == 1000
    assert (await client.post_webhook(body)).status == 200
    assert await participants(db) == {(ACCOUNT, user) for user in users}


async def test_a_truncated_emoji_costs_nobody_in_the_batch(client: Client, db: Database) -> None:
    users = [new_user(), new_user()]
    items = [samples.message(users[0], ACCOUNT, "half \ud83d"), samples.message(users[1], ACCOUNT)]
    await client.deliver(*items)
    assert await participants(db) == {(ACCOUNT, user) for user in users}


async def test_ids_that_are_integers_count_as_their_digits(client: Client, db: Database) -> None:
    user = new_user()
    item = samples.message(user, ACCOUNT) | {"sender": {"id": int(user)}}
    body = json.dumps({"object": "instagram", "entry": [{"id": int(ACCOUNT), "messaging": [item]}]})
    assert (await client.post_webhook(body.encode())).status == 200
    assert await participants(db) == {(ACCOUNT, user)}


@pytest.mark.parametrize(
    "timestamp", [None, "soon", [], True, -5, 0, 10**30, 1e308, "", "1" * 5000], ids=repr
)
async def test_an_unreadable_time_is_the_time_of_receipt(
    client: Client, db: Database, timestamp: object
) -> None:
    user, before = new_user(), time.time()
    await client.deliver(samples.message(user, ACCOUNT) | {"timestamp": timestamp})
    assert before - 1 < await last_message_at(db, user) < time.time() + 1


async def test_a_time_in_the_future_counts_as_now(client: Client, db: Database) -> None:
    user = new_user()
    await client.deliver(samples.message(user, ACCOUNT, at_ms=samples.now_ms() + 86_400_000))
    assert await last_message_at(db, user) < time.time() + 1


@pytest.mark.parametrize("timestamp", [1_700_000_000, 1_700_000_000_000, "1700000000"])
async def test_times_are_read_in_seconds_and_milliseconds(
    client: Client, db: Database, timestamp: object
) -> None:
    user = new_user()
    await client.deliver(samples.message(user, ACCOUNT) | {"timestamp": timestamp})
    assert await last_message_at(db, user) == 1_700_000_000


async def test_a_participant_keeps_its_first_and_its_last_time(
    client: Client, db: Database
) -> None:
    user, now = new_user(), samples.now_ms()
    for age_ms in (3_600_000, 86_400_000, 60_000, 7_200_000):
        await client.deliver(samples.message(user, ACCOUNT, at_ms=now - age_ms))
    first, last = await fetch_row(
        db, "SELECT first_message_at, last_message_at FROM instagram_participants"
    )
    assert round(first.timestamp() * 1000) == now - 86_400_000
    # what is known within the hour costs no statement
    assert abs(last.timestamp() * 1000 - (now - 60_000)) <= 3_600_000


async def test_an_own_id_or_alias_is_never_a_user(client: Client, db: Database) -> None:
    await client.connect(aliasIds=["9001"])
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    await client.deliver(
        samples.message(OTHER_ACCOUNT, ACCOUNT),
        samples.message("9001", ACCOUNT),
        samples.echo(ACCOUNT, OTHER_ACCOUNT),
        samples.echo(ACCOUNT, "9001"),
    )
    assert await participants(db) == set()


async def test_an_entry_under_an_alias_is_stored_as_its_account(
    client: Client, db: Database
) -> None:
    await client.connect(aliasIds=["9001"])
    users = [new_user() for _ in range(4)]
    await client.deliver(samples.message(users[0], "9001"), account="9001")
    await client.deliver(samples.message(users[1], ACCOUNT), account="9001")
    await client.deliver(samples.echo("9001", users[2]), account="9001")
    await client.deliver(samples.message(users[3], ACCOUNT), account="9999")
    assert await participants(db) == {(ACCOUNT, user) for user in users}


async def test_no_text_and_no_message_id_is_kept(client: Client, db: Database) -> None:
    await client.deliver(samples.message(new_user(), ACCOUNT, "a very private text"))
    tables = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        rows = await db.fetch(f"SELECT to_jsonb(t)::text FROM {table} t")  # noqa: S608 - our tables
        assert not [row for (row,) in rows if "private" in row or "aWdfZA" in row], table


async def write_until_remembered(client: Client) -> str:
    """Have a user write until the service acknowledges from memory, and give the user."""
    user = new_user()

    async def is_remembered() -> bool:
        await client.write(user)
        metrics = (await client.call("GET", "/metrics")).body.decode()
        return "\ninstagram_remembered_total 0.0\n" not in metrics

    await until(is_remembered)
    await client.until_state(user, "resolved")
    return user


@contextmanager
def impatient() -> Iterator[None]:
    """Give what waits for a frozen PostgreSQL a moment, not the seconds that production gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "DURABLE_WITHIN_S", A_MOMENT_S)
        patch.setattr(identities, "SLOW_STATEMENT_S", A_MOMENT_S)
        patch.setattr(health, "_PING_S", A_MOMENT_S)
        patch.setattr(ServiceDatabase.fetch, "__kwdefaults__", {"timeout_s": A_MOMENT_S})
        patch.setattr(ServiceDatabase.check_writable, "__defaults__", (A_MOMENT_S,))
        transaction = ServiceDatabase.transaction.__wrapped__  # type: ignore[attr-defined]
        patch.setattr(transaction, "__defaults__", (A_MOMENT_S,))
        yield


class TestWithoutPostgres:
    """Acked means durable, and nobody waits for a database that does not answer."""

    @pytest.fixture
    def own_postgres(self, data_dir: Path) -> EmbeddedPostgres:
        return EmbeddedPostgres(data_dir)  # one that outlives a crash

    @pytest.fixture
    def own_database(self) -> str:
        return f"test_{uuid.uuid4().hex}"

    @pytest.fixture
    async def client(
        self, own_postgres: EmbeddedPostgres, own_database: str, start: Start
    ) -> AsyncIterator[Client]:
        with own_postgres:
            connection = await asyncpg.connect(own_postgres.dsn())
            await connection.execute(f"CREATE DATABASE {own_database} TEMPLATE template0")
            await connection.close()
            await migrate(own_postgres.dsn(own_database), Vault((ENCRYPTION_KEY,)))
            client = await start(database_url=own_postgres.dsn(own_database))
            await client.connect()
            try:
                yield client
            finally:
                own_postgres.thaw()

    @pytest.mark.parametrize("trouble", ["freeze", "kill"])
    async def test_the_unknown_is_refused_the_known_is_acknowledged_lookups_say_503(
        self, client: Client, own_postgres: EmbeddedPostgres, trouble: str
    ) -> None:
        known = await write_until_remembered(client)
        getattr(own_postgres, trouble)()
        with impatient():
            await client.write(known)
            answers = await asyncio.gather(
                client.post_webhook(
                    samples.delivery(samples.entry(ACCOUNT, samples.message(new_user(), ACCOUNT)))
                ),
                client.inbox(f"/users/{new_user()}"),  # the known may be answered from memory
                client.inbox(f"/users?ids={known},{new_user()}"),
                client.operator("GET", "/connections"),
                client.operator("DELETE", f"/users/{known}"),
                client.operator("POST", f"/users/{known}/refresh"),
                client.operator("POST", "/messages/backfill?locationId=loc_1"),
            )
        for answer in answers:
            answer.assert_problem(503)
            assert int(answer.headers["Retry-After"]) > 0

    async def test_probes_and_status_tell_of_it_and_it_heals(
        self, client: Client, own_postgres: EmbeddedPostgres
    ) -> None:
        own_postgres.freeze()
        with impatient():
            ready = await client.call("GET", "/readyz")
            alive = await client.call("GET", "/healthz")
            status = await client.operator("GET", "/status")
        assert (ready.status, alive.status, status.status) == (200, 200, 200)
        assert ready.json["postgres"] != "ok"
        assert status.json["postgres"] != "ok"
        own_postgres.thaw()
        user = new_user()
        await client.write(user)
        await client.until_state(user, "resolved")

    async def test_a_crash_of_the_database_costs_nothing_that_was_acknowledged(
        self, client: Client, own_postgres: EmbeddedPostgres, own_database: str
    ) -> None:
        before, after = new_user(), new_user()
        await client.write(before)
        own_postgres.kill()
        own_postgres.start()
        body = samples.delivery(samples.entry(ACCOUNT, samples.message(after, ACCOUNT)))

        async def is_acknowledged() -> bool:
            return (await client.post_webhook(body)).status == 200

        await until(is_acknowledged)
        connection = await asyncpg.connect(own_postgres.dsn(own_database))
        leases = "UPDATE instagram_participants SET due_at = now() WHERE due_at > now()"
        await connection.execute(leases)  # as if the time of a claim that was cut off had passed
        await connection.close()
        for user in (before, after):
            await client.until_state(user, "resolved")

    async def test_many_deliveries_at_once_are_all_answered_in_time(
        self, client: Client, own_postgres: EmbeddedPostgres
    ) -> None:
        bodies = [
            samples.delivery(samples.entry(ACCOUNT, samples.message(new_user(), ACCOUNT)))
            for _ in range(60)
        ]
        own_postgres.freeze()
        with impatient():
            answers = await asyncio.gather(*map(client.post_webhook, bodies))
        assert {answer.status for answer in answers} == {503}


async def test_a_sender_that_goes_away_mid_body_harms_nobody(client: Client, db: Database) -> None:
    host, port = client.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {API}/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{".encode())
    await writer.drain()
    writer.transport.abort()
    user = new_user()
    await client.write(user)
    assert await participants(db) == {(ACCOUNT, user)}


async def test_a_large_body_leaves_the_next_request_unharmed(client: Client) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        one = Client(client.url, session)
        (await one.post_webhook(padded(3 * MIB))).assert_problem(413)
        assert (await one.post_webhook(padded(1000))).status == 200
