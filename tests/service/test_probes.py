"""Who probes after a pause: never the one whose failure caused it, where another is due."""

from sandbox.graph.simulator import GraphSimulator

from .conftest import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    Client,
    Database,
    new_user,
)

END_PAUSES = "UPDATE instagram_pauses SET until = now(), probing_until = NULL"


async def test_a_broken_account_does_not_prolong_the_apps_pause(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    """Both accounts failed; one is mended, and its first probe ends the pause of all."""
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    graph.set_answer("no_capability")
    broken, mended = [new_user() for _ in range(3)], [new_user() for _ in range(3)]
    await client.write(*mended, account=OTHER_ACCOUNT)
    await client.until_paused(f"account:{OTHER_ACCOUNT}", "bad_request")
    await client.write(*broken)
    await client.until_paused("app", "bad_request")
    await client.until_idle()
    graph.set_answer(None)
    graph.set_answer("no_capability", account=ACCOUNT)
    graph.log.clear()
    await db.execute(END_PAUSES)
    for user in mended:
        await client.until_state(user, "resolved")
    assert graph.calls[0].ig_account_id == OTHER_ACCOUNT, "the last failure was the other's"
    await client.until_paused(f"account:{ACCOUNT}", "bad_request")
    fresh = new_user()
    await client.write(fresh, account=OTHER_ACCOUNT)
    await client.until_state(fresh, "resolved")
    assert "app" not in await client.pauses()


async def test_one_odd_user_does_not_prolong_its_accounts_pause(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    odd, fine = new_user(), new_user()
    graph.set_answer("account_throttle", user=odd)
    await client.write(odd)
    await client.until_paused(f"account:{ACCOUNT}", "throttled")
    await client.write(fine)
    await client.until_idle()
    graph.log.clear()
    await db.execute(END_PAUSES)
    await client.until_state(fine, "resolved")
    assert graph.calls[0].ig_user_id == fine
