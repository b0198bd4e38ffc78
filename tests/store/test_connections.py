import asyncio

import msgspec
import pytest

from service.store.claims import Claims
from service.store.connections import Connection, Connections, TakenError
from service.store.identities import Identities
from service.store.outcomes import Refusal
from service.vault import Vault

from .tables import (
    ACCOUNT,
    DAY,
    HOUR,
    LOCATION,
    MINUTE,
    NOW,
    OTHER_ACCOUNT,
    USER,
    Tables,
    taken,
    user_id,
)

ALIAS, OTHER_ALIAS = "178414000009991", "178414000009992"
TOKEN = "EAAG-a-secret-token"
STORED = "SELECT access_token FROM instagram_connections WHERE ig_account_id = $1"
PARTICIPANTS = "SELECT ig_user_id FROM instagram_participants ORDER BY ig_user_id"


async def put(
    connections: Connections, ig_account_id: str = ACCOUNT, aliases: list[str] | None = None
) -> Connection:
    return await connections.put(ig_account_id, LOCATION, TOKEN, "facebook", aliases or [])


async def test_a_connection_is_kept_and_listed(connections: Connections) -> None:
    stored = await connections.put(ACCOUNT, "loc_1", TOKEN, "instagram", [ALIAS])
    assert (stored.ig_account_id, stored.alias_ids) == (ACCOUNT, [ALIAS])
    assert (stored.location_id, stored.login, stored.token_status) == (
        "loc_1",
        "instagram",
        "active",
    )
    assert (stored.paused_until, stored.pause_reason) == (None, None)
    assert await connections.list() == [stored]


async def test_a_token_is_sealed_and_shown_nowhere(
    connections: Connections, tables: Tables, vault: Vault
) -> None:
    stored = await put(connections)
    sealed = await tables.value(STORED, ACCOUNT)
    assert vault.open(sealed, ACCOUNT) == TOKEN
    listed = await connections.list()
    shown = f"{stored!r}{listed!r}{connections!r}{msgspec.json.encode(listed)!r}"
    assert TOKEN not in shown + sealed
    assert sealed not in shown


async def test_replacing_keeps_the_birthday_and_revives_the_token(
    connections: Connections, tables: Tables, vault: Vault
) -> None:
    first = await put(connections, aliases=[ALIAS])
    await tables.execute("UPDATE instagram_connections SET token_status = 'invalid'")
    second = await connections.put(ACCOUNT, "loc_2", "EAAG-new", "instagram", [OTHER_ALIAS])
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    assert (second.location_id, second.login, second.token_status, second.alias_ids) == (
        "loc_2",
        "instagram",
        "active",
        [OTHER_ALIAS],
    )
    assert vault.open(await tables.value(STORED, ACCOUNT), ACCOUNT) == "EAAG-new"
    assert len(await connections.list()) == 1


async def test_a_pause_is_shown_while_it_is_on(connections: Connections, tables: Tables) -> None:
    await put(connections)
    await tables.pause(f"account:{ACCOUNT}", "throttled", HOUR)
    (paused,) = await connections.list()
    assert paused.pause_reason == "throttled"
    assert paused.paused_until is not None
    await tables.execute("UPDATE instagram_pauses SET until = 'infinity'")
    (paused,) = await connections.list()
    assert paused.paused_until is not None
    assert paused.paused_until.year > 9000  # which JSON can say
    await tables.run_out()
    (paused,) = await connections.list()
    assert (paused.pause_reason, paused.paused_until) == (None, None)


async def test_the_directory_names_every_id(connections: Connections) -> None:
    await put(connections, ACCOUNT, [ALIAS, OTHER_ALIAS])
    await put(connections, OTHER_ACCOUNT)
    assert await connections.read_directory() == {
        ACCOUNT: ACCOUNT,
        ALIAS: ACCOUNT,
        OTHER_ALIAS: ACCOUNT,
        OTHER_ACCOUNT: OTHER_ACCOUNT,
    }


@pytest.mark.parametrize(
    ("account", "aliases"),
    [
        (ALIAS, []),
        (OTHER_ACCOUNT, [ACCOUNT]),
        (OTHER_ACCOUNT, [ALIAS]),
    ],
)
async def test_an_id_has_one_owner(
    connections: Connections, tables: Tables, account: str, aliases: list[str]
) -> None:
    await put(connections, ACCOUNT, [ALIAS])
    await tables.participate(USER, account)
    with pytest.raises(TakenError) as refused:
        await put(connections, account, aliases)
    assert refused.value.owner == ACCOUNT
    assert ACCOUNT in str(refused.value)
    assert [c.ig_account_id for c in await connections.list()] == [ACCOUNT]


async def test_of_two_who_claim_an_id_at_once_one_gets_it(connections: Connections) -> None:
    outcomes = await asyncio.gather(
        *(put(connections, account, [ALIAS]) for account in (ACCOUNT, OTHER_ACCOUNT)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Connection", "TakenError"]


async def test_what_came_under_an_alias_moves_to_its_account(
    connections: Connections, tables: Tables
) -> None:
    await tables.participate(
        user_id(1), ACCOUNT, first_message_at=-2 * DAY, last_message_at=-DAY, due_at=None
    )
    await tables.participate(
        user_id(1),
        ALIAS,
        first_message_at=-3 * DAY,
        last_message_at=-HOUR,
        due_at=-MINUTE,
        forced=True,
    )
    await tables.participate(user_id(2), ALIAS, last_message_at=-DAY, due_at=HOUR)
    await tables.participate(user_id(2), OTHER_ALIAS, last_message_at=-HOUR, due_at=None)
    await tables.participate(user_id(3), OTHER_ACCOUNT)
    await put(connections, ACCOUNT, [ALIAS, OTHER_ALIAS])
    assert await tables.column("SELECT DISTINCT ig_account_id FROM instagram_participants") in (
        [ACCOUNT, OTHER_ACCOUNT],
        [OTHER_ACCOUNT, ACCOUNT],
    )
    first, second = await tables.participant(user_id(1)), await tables.participant(user_id(2))
    assert first["last_message_at"] - first["first_message_at"] == 3 * DAY - HOUR
    assert (first["is_due"], first["forced"]) == (True, True)
    assert second["is_due"] is False
    assert second["last_message_at"] > second["due_at"] - 3 * HOUR


async def test_an_accounts_own_ids_cease_to_be_users(
    connections: Connections, tables: Tables
) -> None:
    for own_id in (ACCOUNT, ALIAS, USER):
        await tables.participate(own_id, OTHER_ACCOUNT)
        await tables.cache(own_id, username="somebody")
        await tables.insert("instagram_streaks", scope="app", ig_user_id=own_id, error="{}")
    await put(connections, ACCOUNT, [ALIAS])
    assert await tables.column(PARTICIPANTS) == [USER]
    assert await tables.column("SELECT ig_user_id FROM instagram_user_cache") == [USER]
    assert await tables.column("SELECT ig_user_id FROM instagram_streaks") == [USER]


async def test_the_users_of_an_unconnected_alias_become_the_accounts(
    connections: Connections, claims: Claims, tables: Tables
) -> None:
    await tables.participate(USER, ALIAS)
    assert await claims.take(ALIAS, USER) == Refusal("no_connection")
    await put(connections, ACCOUNT, [ALIAS])
    await taken(claims, USER, ACCOUNT)


async def test_a_removed_connection_leaves_the_names_and_no_pause(
    connections: Connections, identities: Identities, tables: Tables
) -> None:
    await put(connections)
    await tables.participate()
    await tables.cache(username="jane", last_fetched_at=NOW)
    await tables.pause(f"account:{ACCOUNT}", "token_invalid", HOUR)
    assert await connections.delete(ACCOUNT)
    assert not await connections.delete(ACCOUNT)
    assert await connections.list() == []
    assert await tables.pauses() == {}
    assert (await identities.look_up([USER]))[0].username == "jane"
