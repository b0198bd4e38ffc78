"""Stops of every kind lose nobody, and what is logged can be read and tells no secret."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from sandbox.postgres.server import EmbeddedPostgres
from service.resolving.sweeper import Sweeper
from tests.service.conftest import (
    ACCOUNT,
    API,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    SECRETS,
    TOKEN,
    Client,
    Database,
    MakeSettings,
    ServiceProcess,
    Spawn,
    Start,
    new_user,
    run_command,
)
from tests.until import until

TAG = "[Instagram Messaging Profile]"
FIELDS = {"ig_user_id", "ig_account_id", "outcome", "duration_ms"}
FAILURE_FIELDS = {"reason", "code", "subcode", "fbtrace_id", "fail_count", "next_attempt_at"}
RESOLVER_DIES = """
import service.resolving.workers, service.__main__
async def die(self):
    raise RuntimeError("the resolver is broken")
service.resolving.workers.Resolver.run = die
service.__main__._run()
"""


async def all_resolved(client: Client, users: list[str]) -> None:
    await asyncio.gather(*(client.until_state(user, "resolved") for user in users))


async def test_a_stop_with_work_queued_exits_0_and_the_next_start_does_the_rest(
    spawn: Spawn, graph: GraphSimulator
) -> None:
    first = await spawn(GRAPH_CALLS_PER_SECOND="10")
    await first.client.connect()
    users = [new_user() for _ in range(15)]
    await first.client.write(*users)
    await graph.wait_for_calls(3)
    assert await first.stop() == 0
    called = len(graph.calls)
    assert called < 15
    assert [line["event"] for line in first.lines()][-1] == "stopped"
    second = await spawn()
    await all_resolved(second.client, users)
    assert sorted(call.ig_user_id for call in graph.calls) == sorted(users)
    assert await second.stop(signal.SIGINT) == 0


async def test_a_stop_finishes_the_calls_in_flight(
    spawn: Spawn, graph: GraphSimulator, db: Database
) -> None:
    process = await spawn(GRAPH_TIMEOUT_SECONDS="5")
    await process.client.connect()
    graph.set_latency(300)
    await process.client.write(*[new_user() for _ in range(5)])
    await graph.wait_for_calls(5)
    assert await process.stop() == 0
    fetched = "SELECT count(*) FROM instagram_user_cache WHERE last_fetched_at IS NOT NULL"
    assert await db.fetchval(fetched) == 5


async def test_a_stop_waits_for_no_place_in_the_budget_and_gives_the_claim_back(
    spawn: Spawn, graph: GraphSimulator, db: Database
) -> None:
    process = await spawn(GRAPH_CALLS_PER_SECOND="0.01", SHUTDOWN_TIMEOUT_SECONDS="60")
    await process.client.connect()
    await db.execute("UPDATE instagram_budget SET next_at = now() + interval '60 s'")
    user = new_user()
    await process.client.write(user)
    claimed = "SELECT count(*) FROM instagram_participants WHERE lease IS NOT NULL"
    await until(lambda: db.fetchval(claimed))
    assert await process.stop() == 0
    assert graph.calls == []
    assert await db.fetchval(claimed) == 0
    due = "SELECT ig_user_id FROM instagram_participants WHERE due_at <= now()"
    assert await db.fetchval(due) == user
    (put_off,) = [line for line in process.lines() if line.get("reason") == "stopping"]
    assert put_off["ig_user_id"] == user


async def test_a_stop_abandons_aloud_what_does_not_end(spawn: Spawn, graph: GraphSimulator) -> None:
    process = await spawn(GRAPH_TIMEOUT_SECONDS="30", SHUTDOWN_TIMEOUT_SECONDS="0.4")
    await process.client.connect()
    graph.hold()
    await process.client.write(new_user())
    await graph.wait_for_calls(1)
    assert await process.stop() == 0
    assert [line for line in process.lines() if "abandoned" in line["event"]]


async def test_a_delivery_during_the_stop_is_acknowledged_or_refused_never_lost(
    spawn: Spawn, db: Database
) -> None:
    process = await spawn()
    await process.client.connect()
    acknowledged: list[str] = []

    async def send() -> None:
        while True:
            user = new_user()
            try:
                await process.client.write(user)
            except (AssertionError, aiohttp.ClientError):
                return
            acknowledged.append(user)

    senders = [asyncio.create_task(send()) for _ in range(4)]

    async def enough() -> bool:
        return len(acknowledged) > 50

    await until(enough)
    assert await process.stop() == 0
    await asyncio.gather(*senders)
    stored = await db.fetch("SELECT ig_user_id FROM instagram_participants")
    assert set(acknowledged) <= {row["ig_user_id"] for row in stored}


async def test_a_kill_in_mid_flight_costs_a_delay_and_no_name(
    spawn: Spawn, graph: GraphSimulator, db: Database
) -> None:
    process = await spawn()
    await process.client.connect()
    users = [new_user() for _ in range(10)]
    graph.hold()
    await process.client.write(*users)
    await graph.wait_for_calls(5)
    await process.stop(signal.SIGKILL)
    graph.release()
    leases = "UPDATE instagram_participants SET due_at = now() WHERE due_at > now()"
    await db.execute(leases)  # as if the time of the claims had passed
    again = await spawn()
    await all_resolved(again.client, users)


async def test_what_is_held_in_memory_is_only_a_hint(
    start: Start, db: Database, graph: GraphSimulator
) -> None:
    client = await start()
    await client.connect()
    user = new_user()
    graph.hold()
    await client.write(user)
    due_at = await db.fetchval("SELECT due_at FROM instagram_participants")
    assert due_at is not None
    graph.release()
    await client.until_state(user, "resolved")


async def exercise(process: ServiceProcess, graph: GraphSimulator) -> None:
    """Use every route, rightly and wrongly, and let Graph fail in each way."""
    client = process.client
    resolved, missing, transient = new_user(), new_user(), new_user()
    graph.set_answer("not_found", user=missing)
    graph.set_answer("http_503", user=transient)
    await client.write(resolved, missing, transient)
    await client.until_state(resolved, "resolved")
    await client.until_failed(missing)
    await client.until_failed(transient)
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    graph.set_answer("token_expired", account=OTHER_ACCOUNT)
    await client.write(new_user(), account=OTHER_ACCOUNT)
    await client.until_paused(f"account:{OTHER_ACCOUNT}", "token_invalid")
    await client.post_webhook(b"[]")
    await client.post_webhook(b"{}", "another-secret")
    await client.deliver(samples.read(new_user(), ACCOUNT), {"message": 7})
    bad = f'{{"accessToken": "{TOKEN}", "locationId": 7}}'.encode()
    await client.operator("PUT", f"/connections/{ACCOUNT}", data=bad)
    await client.call("GET", f"{API}/webhook?hub.verify_token=wrong&hub.challenge=x")
    await client.call("GET", f"{API}/users/1", key="wrong-key-of-somebody")
    await client.operator("POST", f"/users/{resolved}/refresh")
    await client.operator("POST", "/messages/backfill?locationId=loc_1")
    await client.operator("DELETE", f"/users/{resolved}")
    told = [await client.operator("GET", path) for path in ("/status", "/connections")]
    told += [await client.call("GET", path) for path in ("/readyz", "/metrics")]
    for answer in told:
        assert not [secret for secret in SECRETS if secret.encode() in answer.body]


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_the_log_is_one_object_a_line_with_its_fields_and_no_secret(
    spawn: Spawn, graph: GraphSimulator, environment: dict[str, str], level: str
) -> None:
    process = await spawn(LOG_LEVEL=level)
    await process.client.connect()
    await exercise(process, graph)
    assert await process.stop() == 0
    text = process.output.read_text()
    password = environment["DATABASE_URL"].split(":")[2].split("@")[0]
    for secret in (*SECRETS, password, "wrong-key-of-somebody", "another-secret"):
        assert secret not in text
    settled = [line for line in process.lines() if "duration_ms" in line]
    assert {line["outcome"] for line in settled} >= {"resolved", "failed", "paused"}
    for line in settled:
        assert line["event"].startswith(TAG)
        assert line.keys() >= FIELDS
        if line["outcome"] != "resolved":
            assert line.keys() >= FAILURE_FIELDS
    (missing,) = [line for line in settled if line.get("reason") == "not_found"]
    about_users = [line for line in process.lines() if "ig_user_id" in line]
    for line in about_users:
        assert line["event"].startswith(TAG)
        if not line["event"].endswith("erased"):
            assert line.keys() >= FIELDS, line
    assert (missing["code"], missing["subcode"], missing["fail_count"]) == (100, 33, 1)
    assert missing["fbtrace_id"].startswith("Sim")
    assert missing["next_attempt_at"] > missing["timestamp"][:10]


async def test_every_item_that_is_dropped_leaves_a_line_that_says_why(
    spawn: Spawn,
) -> None:
    process = await spawn()
    before = len(process.lines())
    user = new_user()
    bodies = {
        "read": samples.delivery(samples.entry(ACCOUNT, samples.read(user, ACCOUNT))),
        "self": samples.delivery(samples.entry(ACCOUNT, samples.self_message(ACCOUNT))),
        "dashboard": samples.dashboard_test(),
        "comments": samples.delivery(
            samples.flat_entry(ACCOUNT, "comments", samples.comment(user))
        ),
        "malformed": samples.delivery(samples.entry(ACCOUNT, {"message": {}})),
        "object": samples.delivery(object_="page"),
    }
    for body in bodies.values():
        assert (await process.client.post_webhook(body)).status == 200

    async def all_told() -> list[dict[str, Any]]:
        told = [line for line in process.lines()[before:] if "skipped" in line]
        return told if len(told) >= len(bodies) else []

    told = await until(all_told)  # a thread writes the lines, maybe after the answer
    for word, line in zip(bodies, told, strict=True):
        assert word in str(line["skipped"])


async def test_a_background_task_that_dies_stops_the_process_aloud(
    environment: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "service.log"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RESOLVER_DIES, "serve"),
            env=environment,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
        )
    async with asyncio.timeout(60):
        assert await process.wait() not in {0, None}
    assert "background task died" in output.read_text()
    assert "the resolver is broken" in output.read_text()


async def test_a_sweeper_that_fails_once_starts_again_and_nobody_goes_without_a_name(
    start: Start, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()
    sweep = Sweeper.sweep

    async def fail_once(sweeper: Sweeper) -> bool:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("an odd row")
        return await sweep(sweeper)

    monkeypatch.setattr(Sweeper, "sweep", fail_once)
    client = await start()
    await client.connect()
    await failed.wait()
    user = new_user()
    await db.execute(
        "INSERT INTO instagram_participants (ig_account_id, ig_user_id) VALUES ($1, $2)",
        ACCOUNT,
        user,
    )
    await client.until_state(user, "resolved")


async def test_a_port_that_is_taken_stops_the_start_and_leaves_nothing(
    environment: dict[str, str], spawn: Spawn, tmp_path: Path
) -> None:
    first = await spawn()
    port = first.client.url.rpartition(":")[2]
    output = tmp_path / "second.log"
    second = await run_command("serve", environment | {"PORT": port}, output)
    async with asyncio.timeout(60):
        assert await second.wait() not in {0, 2}
    assert not [secret for secret in SECRETS if secret in output.read_text()]


async def test_a_service_that_starts_before_postgres_waits_for_it(
    environment: dict[str, str], tmp_path: Path, server: EmbeddedPostgres
) -> None:
    output = tmp_path / "early.log"
    more = {"DATABASE_URL": server.dsn(), "MIGRATE_ON_START": "true"}
    server.stop()
    early = await run_command("serve", environment | more, output)

    async def is_waiting() -> bool:
        return "waiting for PostgreSQL" in output.read_text()

    async def is_serving() -> bool:
        return '"serving"' in output.read_text()

    try:
        await until(is_waiting)
        server.start()
        await until(is_serving)
        early.terminate()
        assert await early.wait() == 0
    finally:
        if early.returncode is None:
            early.kill()
            await early.wait()


def test_settings_show_no_secret(settings: MakeSettings) -> None:
    made = settings()
    for shown in (repr(made), str(made), made.model_dump_json()):
        assert not [secret for secret in SECRETS if secret in shown]
