"""A table of connections that another application fills, with tokens as Meta gave them."""

import pytest
from structlog.testing import capture_logs

from sandbox.graph.simulator import GraphSimulator
from service.vault import Vault
from tests.service.conftest import (
    ACCOUNT,
    ENCRYPTION_KEY,
    LOCATION,
    TOKEN,
    Client,
    Database,
    Start,
    new_user,
)
from tests.until import until

STORED = "SELECT access_token FROM instagram_connections"
BODY = {"locationId": LOCATION, "accessToken": TOKEN}


async def insert(db: Database, token: str = TOKEN, login: str = "facebook") -> None:
    """Connect the account as the other application does."""
    await db.execute(
        "INSERT INTO instagram_connections (ig_account_id, location_id, access_token, login)"
        " VALUES ($1, $2, $3, $4)",
        *(ACCOUNT, LOCATION, token, login),
    )


@pytest.mark.parametrize("token", [TOKEN, f"{TOKEN}\r\n"])
async def test_a_plain_token_gives_names_at_once_and_stays_plain(
    start: Start, db: Database, token: str
) -> None:
    client, other = await start(), await start()
    users = [new_user(), new_user()]
    await client.write(users[0])
    await client.until_reason(users[0], "no_connection")
    await insert(db, token)
    await client.until_state(users[0], "resolved")
    await other.write(users[1])
    await other.until_state(users[1], "resolved")
    assert await db.fetchval(STORED) == token
    assert (await client.connection())["isPlain"] is True
    assert await client.pauses() == {}


async def test_a_new_plain_token_frees_the_account_of_a_dead_one(
    start: Start, db: Database, graph: GraphSimulator
) -> None:
    client = await start()
    await insert(db, "EAAG-of-yesterday")
    user = new_user()
    await client.write(user)
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    assert (await client.connection())["tokenStatus"] == "invalid"
    calls = len(graph.calls)
    await db.execute("UPDATE instagram_connections SET location_id = 'loc_7'")
    await db.execute("UPDATE instagram_connections SET access_token = $1", TOKEN)
    await client.until_state(user, "resolved")
    assert (await client.connection())["tokenStatus"] == "active"
    assert len(graph.calls) == calls + 1


async def test_what_the_service_stores_is_encrypted_and_not_plain(client: Client) -> None:
    assert (await client.connection())["isPlain"] is False


async def test_seal_tokens_encrypts_them_as_they_are_noticed(start: Start, db: Database) -> None:
    client = await start(seal_tokens=True)
    await insert(db)

    async def is_sealed() -> bool:
        return bool(await db.fetchval(STORED) != TOKEN)

    await until(is_sealed)
    assert Vault((ENCRYPTION_KEY,)).open(await db.fetchval(STORED), ACCOUNT) == TOKEN
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")


async def test_an_unknown_login_reads_as_facebook_and_is_named_once(
    start: Start, db: Database
) -> None:
    await insert(db, login="fb")
    with capture_logs() as lines:
        client = await start()
        user = new_user()
        await client.write(user)
        await client.until_state(user, "resolved")
        await db.execute("UPDATE instagram_connections SET location_id = 'loc_7'")
        await client.operator("PUT", f"/connections/{ACCOUNT}9", json=BODY)
    warned = [line for line in lines if "login" in line["event"]]
    assert [(line["ig_account_id"], line["log_level"]) for line in warned] == [(ACCOUNT, "warning")]
    assert (await client.connection())["login"] == "facebook"
    assert await db.fetchval("SELECT login FROM instagram_connections WHERE login = 'fb'") == "fb"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ADD COLUMN tenant_id integer NOT NULL", "column tenant_id"),
        ("ADD CONSTRAINT is_plain CHECK (access_token LIKE 'EAA%')", "constraint is_plain"),
        ("ALTER COLUMN access_token TYPE varchar(60)", "refuses it: a value is too long"),
    ],
)
async def test_a_put_that_the_other_application_forbids_is_a_409_that_says_why(
    start: Start, db: Database, change: str, named: str
) -> None:
    await db.execute(f"ALTER TABLE instagram_connections {change}")
    client = await start()
    with capture_logs() as lines:
        answer = await client.operator("PUT", f"/connections/{ACCOUNT}", json=BODY)
    answer.assert_problem(409)
    assert named in answer.json["detail"]
    assert TOKEN not in f"{answer.json} {lines}"
    assert await db.fetchval("SELECT count(*) FROM instagram_connections") == 0


async def test_a_trigger_that_refuses_a_put_is_a_409_too(start: Start, db: Database) -> None:
    await db.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "    RAISE EXCEPTION 'not the token %', NEW.access_token; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON instagram_connections"
        "    FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    client = await start()
    with capture_logs() as lines:
        answer = await client.operator("PUT", f"/connections/{ACCOUNT}", json=BODY)
    answer.assert_problem(409)
    assert "v1." not in f"{answer.json} {lines}"


@pytest.mark.usefixtures("own_service")
async def test_a_constraint_that_refuses_our_mark_of_a_dead_token_stops_nobody(
    client: Client, db: Database, graph: GraphSimulator
) -> None:
    await db.execute(
        "ALTER TABLE instagram_connections ADD CONSTRAINT only_active"
        " CHECK (token_status = 'active')"
    )
    graph.set_answer("token_expired", account=ACCOUNT, times=1)
    user = new_user()
    with capture_logs() as lines:
        await client.write(user)
        await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    [line] = [line for line in lines if "can't be marked" in line["event"]]
    assert "only_active" in line["error"]
    assert (await client.connection())["tokenStatus"] == "active"
    await client.connect()
    await client.until_state(user, "resolved")
