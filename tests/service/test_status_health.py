"""What operators, probes and Prometheus are told."""

from datetime import datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

import service.http.counted
import service.http.outlook
from sandbox.graph.simulator import GraphSimulator
from tests.service.conftest import ACCOUNT, SECRETS, Client, Database, Start, new_user
from tests.until import until

PROBES = ("/healthz", "/readyz", "/metrics")


async def metrics(client: Client) -> dict[str, float]:
    """Read every sample, its labels in its name; fails if it is not Prometheus text."""
    answer = await client.call("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.body.decode())
    samples = [sample for family in families for sample in family.samples]
    return {"|".join((s.name, *s.labels.values())): s.value for s in samples}


async def test_probes_need_no_key_and_say_ok(client: Client) -> None:
    for path in PROBES:
        assert (await client.call("GET", path)).status == 200
    ready = (await client.call("GET", "/readyz")).json
    assert ready["postgres"] == "ok"
    assert ready["intake"]


async def test_status_tells_at_least_this(client: Client) -> None:
    status = await client.status()
    assert status["queue"] == {"depth": 0, "oldestSeconds": 0, "inFlight": 0}
    assert status["budget"].keys() >= {"perSecond", "waitSeconds"}
    assert status["budget"]["perSecond"] == 200
    assert status["pauses"] == []
    assert status["identities"].keys() == {"resolved", "pending", "failed"}
    assert status["postgres"] == "ok"
    assert status["intake"]


async def test_status_tells_what_waits_and_what_is_in_flight(
    start: Start, graph: GraphSimulator
) -> None:
    client = await start(graph_concurrency=2, graph_timeout_seconds=5)
    await client.connect()
    graph.hold()
    await client.write(*[new_user() for _ in range(5)])
    await graph.wait_for_calls(2)

    async def settled() -> bool:
        queue = (await client.status())["queue"]
        return bool(queue["inFlight"] == 2 and queue["depth"] == 3 and queue["oldestSeconds"] > 0)

    await until(settled)
    graph.release()
    await client.until_idle()


async def test_status_shows_pauses_with_their_end(client: Client, graph: GraphSimulator) -> None:
    graph.set_answer("buc_throttle", times=1)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "throttled")
    (pause,) = (await client.status())["pauses"]
    assert pause.keys() == {"scope", "until", "reason", "waiting"}
    assert datetime.fromisoformat(pause["until"]).tzinfo is not None
    assert pause["until"].endswith("Z")


async def test_a_pause_without_end_is_shown_and_can_be_read(
    client: Client, graph: GraphSimulator
) -> None:
    graph.set_answer("token_expired", account=ACCOUNT)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    (pause,) = (await client.status())["pauses"]
    connection = await client.connection()
    for until_at in (pause["until"], connection["pausedUntil"]):
        assert datetime.fromisoformat(until_at).year > 2100


async def test_identities_are_counted_by_state(
    start: Start, graph: GraphSimulator, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.http.counted, "COUNT_EVERY_S", (0.02, 0.02))
    client = await start()
    await client.connect()
    resolved, failing, pending = [new_user() for _ in range(3)], new_user(), new_user()
    graph.set_answer("not_found", user=failing)
    await client.write(*resolved, failing)
    await client.until_failed(failing)
    await db.execute(
        "UPDATE instagram_user_cache SET fail_count = 5 WHERE ig_user_id = $1", failing
    )
    await client.deliver(
        {"sender": {"id": pending}, "recipient": {"id": "5"}, "message": {}}, account="5"
    )

    async def counted() -> bool:
        counts = (await client.status())["identities"]
        return bool(counts == {"resolved": 3, "failed": 1, "pending": 1})

    await until(counted)


async def test_the_verdict_is_about_names(
    start: Start, graph: GraphSimulator, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers write, the machinery runs, and nobody gets a name."""
    monkeypatch.setattr(service.http.outlook, "GOOD_FOR_S", 0.0)
    monkeypatch.setattr(service.http.outlook, "JUDGE_EVERY_S", 0.02)
    client = await start(conversation_names=False)  # which takes two calls a second
    await client.connect()
    await db.execute("UPDATE instagram_connections SET username = 'shop'")
    assert (await client.status())["verdict"]["level"] == "ok"
    graph.set_answer("not_found")
    users = [new_user() for _ in range(6)]
    await client.write(*users)
    for user in users:
        await client.until_failed(user)
    status = await client.status()
    assert status["verdict"]["level"] == "broken"
    [sentence] = status["verdict"]["sentences"]
    assert sentence.startswith(
        "6 people wrote to @shop in the last hour and none has a name: Meta knows none of them"
    )
    everybody = {"wrote": 6, "named": 0, "waiting": 0, "nameless": {"not_found": 6}}
    assert {name: status["recent"][name] for name in everybody} == everybody
    [account] = status["recent"]["accounts"]
    assert (account["igAccountId"], account["username"]) == (ACCOUNT, "shop")

    async def is_alarming() -> bool:
        read = await metrics(client)
        return read["instagram_verdict"] == 2 and read["instagram_recent_users|nameless"] == 6

    await until(is_alarming)


async def test_people_of_a_paused_account_count_as_waiting_for_its_end(
    client: Client, graph: GraphSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.http.outlook, "GOOD_FOR_S", 0.0)
    graph.set_answer("buc_throttle", times=1)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "throttled")
    await client.write(*[new_user() for _ in range(3)])

    async def wait() -> bool:
        [pause] = (await client.status())["pauses"]
        return bool(pause["waiting"] == 4)

    await until(wait)
    verdict = (await client.status())["verdict"]
    assert verdict["level"] == "attention"
    assert "4 people wait" in verdict["sentences"][0]


@pytest.mark.usefixtures("own_service")
async def test_metrics_parse_and_count(client: Client, graph: GraphSimulator) -> None:
    user, failing = new_user(), new_user()
    graph.set_answer("not_found", user=failing)
    await client.write(user, failing)
    await client.until_state(user, "resolved")
    await client.until_failed(failing)
    (await client.call("POST", "/api/social/instagram/webhook", data=b"{}")).assert_problem(401)
    counted = await metrics(client)
    assert counted["instagram_deliveries_total|200"] == 1
    assert counted["instagram_deliveries_total|401"] == 1
    assert counted["instagram_graph_calls_total|ok"] == 1
    assert counted["instagram_graph_calls_total|not_found"] == 1
    assert counted["instagram_queue_depth"] == 0
    assert counted["instagram_postgres_up"] == 1


async def test_pauses_in_force_are_counted(client: Client, graph: GraphSimulator) -> None:
    graph.set_answer("token_expired", account=ACCOUNT)
    await client.write(new_user())

    async def counted() -> bool:
        return (await metrics(client))["instagram_pauses|token_invalid|account"] == 1

    await until(counted)
    read = await metrics(client)
    assert sum(value for name, value in read.items() if name.startswith("instagram_pauses|")) == 1
    graph.set_answer(None, account=ACCOUNT)
    await client.connect()

    async def ended() -> bool:
        return (await metrics(client))["instagram_pauses|token_invalid|account"] == 0

    await until(ended)


async def test_the_sweeper_and_the_intake_are_watched(client: Client) -> None:
    async def swept() -> bool:
        return 0 <= (await metrics(client))["instagram_sweep_age_seconds"] < 1

    await until(swept)
    assert (await metrics(client))["instagram_intake_up|postgres"] == 1


async def test_no_secret_and_no_user_is_in_what_is_told(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    graph.set_answer("token_expired", account=ACCOUNT)
    await client.write(user)
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    told = [await client.call("GET", path) for path in PROBES]
    told += [await client.operator("GET", path) for path in ("/status", "/connections")]
    for answer in told:
        assert user.encode() not in answer.body
        assert not [secret for secret in SECRETS if secret.encode() in answer.body]
