"""The SQL rules agree with `service.model.freshness` and `tests.model.next_fetch` on all rows."""

import json
import re
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.contacts import Contact
from service.model.freshness import CachedIdentity, Rules, is_fresh
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.queries import read_queries
from tests.model.next_fetch import next_fetch

from .tables import ACCOUNT, DAY, HOUR, MINUTE, NOW, OTHER_ACCOUNT, SECOND, Tables, user_id

_EDGES = [NOW, SECOND, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 3650 * DAY]
_MOMENTS = st.none() | st.sampled_from([*_EDGES, *(-edge for edge in _EDGES)])
_ERRORS: st.SearchStrategy[object] = st.sampled_from(
    [
        None,
        {"reason": "consent_required", "code": 230},
        {"reason": "not_found", "code": 100},
        {"reason": None},
        {},
        [],
        "consent_required",
        7,
    ]
)
ROWS = st.fixed_dictionaries(
    {
        "last_fetched_at": _MOMENTS,
        "expires_at": _MOMENTS,
        "fail_count": st.integers(0, 7),
        "last_failed_at": _MOMENTS,
        "last_error": _ERRORS.map(lambda error: None if error is None else json.dumps(error)),
    }
)
RULES = st.builds(
    Rules,
    ttl=st.sampled_from([SECOND, DAY, 7 * DAY]),
    max_failures=st.integers(1, 6),
    retry_waits=st.sampled_from([(MINUTE,), (MINUTE, HOUR), Rules().retry_waits]),
)
on_one_database = settings(max_examples=60)
TWINS = """
SELECT u.ig_user_id, instagram_is_fresh(c.last_fetched_at, c.expires_at, $2) AS is_fresh,
    instagram_next_fetch(c.last_fetched_at, c.expires_at, c.fail_count, c.last_failed_at,
        instagram_lacks_consent(c.fail_count, c.last_error), $2, $3, $4) AS next_if_wrote,
    instagram_next_fetch(c.last_fetched_at, c.expires_at, c.fail_count, c.last_failed_at,
        false, $2, $3, $4) AS next_if_not
FROM unnest($1::text[]) WITH ORDINALITY AS u (ig_user_id, slot)
LEFT JOIN instagram_user_cache c USING (ig_user_id) ORDER BY slot
"""


_LOOKING_UP = read_queries("looking_up")


async def insert(tables: Tables, rows: list[dict[str, Any]]) -> list[str]:
    """Store the rows and give their users, and last one who has no row."""
    for number, row in enumerate(rows):
        await tables.cache(user_id(number), **row)
    return [user_id(number) for number in range(len(rows) + 1)]


async def read(tables: Tables, users: list[str], rules: Rules) -> list[CachedIdentity]:
    rows = await tables.session.fetch(_LOOKING_UP["look_up"], users, rules.ttl, True)  # noqa: FBT003
    return [CachedIdentity(**row) for row in rows]


@given(rows=st.lists(ROWS, min_size=1, max_size=40), rules=RULES)
@on_one_database
async def test_the_twins_agree_with_the_pure_rules_at_every_edge(
    tables: Tables, rows: list[dict[str, Any]], rules: Rules
) -> None:
    transaction = tables.session.transaction()
    await transaction.start()  # in which now() stands still
    try:
        users = await insert(tables, rows)
        twins = await tables.session.fetch(
            TWINS, users, rules.ttl, rules.max_failures, rules.retry_waits
        )
        for cached, twin in zip(await read(tables, users, rules), twins, strict=True):
            now = cached.read_at
            assert twin["is_fresh"] == is_fresh(cached, now, rules), cached
            assert twin["next_if_wrote"] == next_fetch(cached, now, rules, wrote=True), cached
            assert twin["next_if_not"] == next_fetch(cached, now, rules, wrote=False), cached
    finally:
        await transaction.rollback()


def is_clear_of_now(row: dict[str, Any]) -> bool:
    """Tell rows whose verdict does not change within the test."""
    fetched, until = row["last_fetched_at"], row["expires_at"]
    return until != NOW and not (until is None and fetched == -Rules().ttl)


@given(rows=st.lists(ROWS.filter(is_clear_of_now), min_size=1, max_size=40), wrote=st.booleans())
@on_one_database
async def test_the_journal_schedules_what_the_pure_rule_says_of_the_lookup(
    database: Database, tables: Tables, rules: Rules, rows: list[dict[str, Any]], *, wrote: bool
) -> None:
    await tables.execute("TRUNCATE instagram_user_cache, instagram_participants")
    users = await insert(tables, rows)
    before = await Identities(database, rules).look_up(users)
    at = before[0].read_at
    written = await Journal(database, rules).write(
        [Contact(ACCOUNT, user, at, at, wrote) for user in users]
    )
    after = await Identities(database, rules).watch(users)
    for cached, later, contact in zip(before, after, written, strict=True):
        due_at = (await tables.participant(cached.ig_user_id))["due_at"]
        expected = next_fetch(cached, cached.read_at, rules, wrote=wrote)
        if expected == cached.read_at:
            assert due_at is not None
            assert cached.read_at <= due_at <= later.read_at
        else:
            assert due_at == expected, cached
        assert (contact.fresh_until is not None) == is_fresh(cached, cached.read_at, rules)
        assert later.is_participant
        assert later.is_scheduled == (due_at is not None)


@given(rows=st.lists(ROWS.filter(is_clear_of_now), min_size=1, max_size=40))
@on_one_database
async def test_a_lookup_schedules_what_the_pure_rule_says(
    database: Database, tables: Tables, rules: Rules, rows: list[dict[str, Any]]
) -> None:
    await tables.execute("TRUNCATE instagram_user_cache, instagram_participants")
    users = await insert(tables, rows)
    for user in users:
        await tables.participate(user, due_at=None)
    await tables.participate(users[0], OTHER_ACCOUNT, due_at=None)
    cached = await Identities(database, rules).look_up(users)
    due = await Identities(database, rules).schedule_stale(users)
    expected = {c.ig_user_id: next_fetch(c, c.read_at, rules, wrote=False) for c in cached}
    after = await tables.value("SELECT now()")
    assert {user.ig_user_id for user in due} == {
        user for user, at in expected.items() if at is not None and at <= after
    }
    for user, at in expected.items():
        due_at = (await tables.participant(user))["due_at"]
        assert (due_at is None) == (at is None)
        assert at is None or at <= due_at <= max(at, after)


async def test_after_the_last_wait_it_is_waited_again(tables: Tables) -> None:
    rules = Rules(max_failures=100, retry_waits=(MINUTE, HOUR))
    await tables.cache(fail_count=50, last_failed_at=NOW)
    twins = await tables.session.fetch(
        TWINS, [user_id(1)], rules.ttl, rules.max_failures, rules.retry_waits
    )
    failed_at = (await tables.cached())["last_failed_at"]
    assert twins[0]["next_if_not"] == failed_at + timedelta(hours=1)


async def test_postgresql_writes_the_rules_into_the_statements(tables: Tables) -> None:
    """A rule that is called as a function, row by row, would cost more than it says."""
    plan = await tables.column(
        "EXPLAIN (VERBOSE, COSTS OFF) SELECT instagram_next_fetch(c.last_fetched_at, c.expires_at,"
        " c.fail_count, c.last_failed_at, instagram_lacks_consent(c.fail_count, c.last_error),"
        " interval '7 days', 5, '{1 min}'), instagram_is_leased(p.lease, p.due_at),"
        " instagram_blocked_by((SELECT reason FROM instagram_active_pauses WHERE scope = 'app'),"
        " k.ig_account_id, x.reason, k.token_status), instagram_login(k.login),"
        " instagram_bounded(c.expires_at), instagram_is_plain(k.access_token)"
        " FROM instagram_participants p LEFT JOIN instagram_user_cache c USING (ig_user_id)"
        " LEFT JOIN instagram_connections k USING (ig_account_id)"
        " LEFT JOIN instagram_active_pauses x ON x.scope = k.ig_account_id"
    )
    assert not [line for line in plan if re.search(r"instagram_\w+\(", line)]
