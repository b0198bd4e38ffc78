"""Ways for users to fail one after the other, and what the tables then say."""

from service.store.claims import Claims
from service.store.outcomes import Settled

from .tables import ACCOUNT, DENIED, TIMEOUT, Tables, taken, user_id

LOST, PAUSED, RESOLVED = Settled("lost"), Settled("paused"), Settled("resolved")
SCOPE = f"account:{ACCOUNT}"
FIRST_FIVE = [user_id(n) for n in range(1, 6)]
STREAK = "SELECT ig_user_id FROM instagram_streaks WHERE scope = $1 ORDER BY ig_user_id"
FAILURES = """
SELECT ig_user_id, fail_count, last_failed_at, last_error FROM instagram_user_cache
ORDER BY ig_user_id
"""


async def failures(tables: Tables) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await tables.session.fetch(FAILURES)]


async def fail_upstream(claims: Claims, ig_user_id: str) -> Settled:
    return await claims.fail_upstream(await taken(claims, ig_user_id), TIMEOUT)


async def deny(claims: Claims, ig_user_id: str) -> Settled:
    return await claims.suspect(await taken(claims, ig_user_id), DENIED)


async def have_an_outage(claims: Claims) -> None:
    settled = [await fail_upstream(claims, user) for user in FIRST_FIVE]
    assert settled[-1] == PAUSED
