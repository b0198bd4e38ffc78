"""Every statement the service sends, constant and named.

Parameters that recur: `$ttl` the TTL of an identity, `$max` the failures after which retries stop,
`$waits` the waits between failures. They are filled in by position in `_rules`; times are the
database's own (`now()`), so that replicas with different clocks agree.
"""

from __future__ import annotations

# Pure rules, the SQL twins of service.model.is_fresh and service.model.next_fetch.
# `c` is a row of instagram_user_cache or all nulls.

# A time written by hand may lie at the end of PostgreSQL's calendar, where an interval can't be
# added to it any more.
_LATEST = "timestamptz '9980-01-01 00:00+00'"
_FRESH = (
    "(c.last_fetched_at IS NOT NULL AND"
    " COALESCE(c.expires_at, LEAST(c.last_fetched_at, " + _LATEST + ") + {ttl}::interval) > now())"
)
_PAUSED = "(x.until > now() OR COALESCE(x.probing_until > now(), false))"
_BLOCKED = (
    """CASE
    WHEN (SELECT true FROM instagram_pauses x WHERE x.scope = 'app' AND """
    + _PAUSED
    + """)
        THEN (SELECT x.reason FROM instagram_pauses x WHERE x.scope = 'app')
    WHEN k.ig_account_id IS NULL THEN 'no_connection'
    WHEN """
    + _PAUSED
    + """ THEN x.reason
    WHEN k.token_status = 'invalid' THEN 'token_invalid'
    END"""
)
_LEASED = "(p.lease IS NOT NULL AND p.due_at > now())"

# Resolving

# Whoever takes a user takes every participant of the user: a claimer whose snapshot is too old to
# see another account's participant finds its own one leased.
CLAIM = f"""
WITH wanted AS (
    SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS w (ig_account_id, ig_user_id)
), held AS (
    SELECT p.ig_account_id, p.ig_user_id, p.due_at, p.forced, {_LEASED} AS is_leased,
        p.last_message_at >= now() - interval '30 days' AS is_recent
    FROM instagram_participants p WHERE p.ig_user_id = ANY ($2::text[])
    ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
), judged AS (
    SELECT h.ig_account_id, h.ig_user_id, COALESCE(k.access_token, '') AS access_token,
        instagram_login(k.login) AS login, h.is_recent,
        CASE WHEN {_FRESH.format(ttl="$5")} THEN COALESCE(c.source,
            CASE WHEN c.username IS NOT NULL OR c.name IS NOT NULL THEN 'profile' END)
            END AS fresh_source, CASE
        WHEN h.due_at IS NULL OR h.due_at > now() THEN 'not_due'
        WHEN EXISTS (SELECT FROM held o WHERE o.ig_user_id = h.ig_user_id AND o.is_leased)
            THEN 'in_flight'
        WHEN NOT h.forced AND {_FRESH.format(ttl="$5")} THEN 'fresh'
        WHEN NOT h.forced AND c.fail_count >= $6 THEN 'stopped'
        ELSE COALESCE({_BLOCKED}, 'taken') END AS verdict
    FROM wanted w JOIN held h USING (ig_account_id, ig_user_id)
    LEFT JOIN instagram_user_cache c ON c.ig_user_id = h.ig_user_id
    LEFT JOIN instagram_connections k ON k.ig_account_id = h.ig_account_id
    LEFT JOIN instagram_pauses x ON x.scope = 'account:' || h.ig_account_id
), taken AS (
    SELECT DISTINCT ON (ig_user_id) ig_account_id, ig_user_id
    FROM judged WHERE verdict = 'taken' ORDER BY ig_user_id, ig_account_id
), updated AS (
    UPDATE instagram_participants p SET
        due_at = CASE WHEN t.ig_user_id IS NOT NULL THEN now() + $4::interval END,
        lease = CASE WHEN t.ig_user_id IS NOT NULL THEN $3::bigint END
    FROM held h
    LEFT JOIN taken t ON t.ig_user_id = h.ig_user_id
    LEFT JOIN judged j ON j.ig_account_id = h.ig_account_id AND j.ig_user_id = h.ig_user_id
    WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id
        AND (t.ig_user_id IS NOT NULL OR j.verdict IN ('fresh', 'stopped'))
)
SELECT j.ig_account_id, j.ig_user_id, j.access_token, j.login, j.is_recent, j.fresh_source,
    CASE WHEN j.verdict = 'taken' AND t.ig_user_id IS NULL THEN 'in_flight' ELSE j.verdict END
    AS verdict
FROM judged j LEFT JOIN taken t USING (ig_account_id, ig_user_id)
"""

_OURS = """
    SELECT DISTINCT ON (d.ig_user_id) d.* FROM done d WHERE EXISTS (
        SELECT FROM held h WHERE h.ig_user_id = d.ig_user_id AND h.lease = d.lease)
"""
_HELD = """
    SELECT p.ig_account_id, p.ig_user_id, p.lease FROM instagram_participants p
    WHERE p.ig_user_id = ANY ($1::text[]) ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
"""
# A success ends the pauses of its account and of the app that had run out, and every streak that it
# interrupts; users whose unclear failure turns out to be their own are returned as `suspects`.
_UNPAUSED = """
, unpaused AS (
    DELETE FROM instagram_pauses x USING ours o
    WHERE x.until <= now() AND x.scope IN ('app', 'account:' || o.ig_account_id)
)"""
_SUCCEEDED = (
    _UNPAUSED
    + """, ended AS (
    DELETE FROM instagram_streaks s USING ours o
    WHERE s.scope IN ('app', 'accounts:outage', 'accounts:bad_request',
        'outage:' || o.ig_account_id, 'account:' || o.ig_account_id)
    RETURNING s.scope, s.ig_user_id, s.error,
        s.ig_user_id IN (SELECT ig_user_id FROM ours) AS has_succeeded
), suspects AS (
    SELECT DISTINCT substr(scope, length('account:') + 1) AS ig_account_id, ig_user_id, error
    FROM ended WHERE scope LIKE 'account:%' AND NOT has_succeeded
)
"""
)
# An answer about a user shows that Graph works; of other users' unclear failures it says nothing.
_ANSWERED = (
    _UNPAUSED
    + """, ended AS (
    DELETE FROM instagram_streaks s USING ours o
    WHERE s.scope IN ('app', 'accounts:outage', 'outage:' || o.ig_account_id)
        OR (s.scope = 'account:' || o.ig_account_id AND s.ig_user_id = o.ig_user_id)
)
"""
)

SETTLE_RESOLVED = f"""
WITH done AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
        $7::text[], $8::timestamptz[])
        AS d (ig_user_id, ig_account_id, lease, username, name, profile_pic_url, raw, picture_until)
), held AS ({_HELD}), ours AS ({_OURS}), cached AS (
    INSERT INTO instagram_user_cache AS c (ig_user_id, username, name, profile_pic_url,
        last_fetched_at, fail_count, raw, expires_at, source)
    SELECT ig_user_id, username, name, profile_pic_url, now(), 0, raw::jsonb,
        LEAST(now() + $9::interval,
            CASE WHEN picture_until >= now() + interval '1 hour' THEN picture_until END),
        CASE WHEN username IS NOT NULL OR name IS NOT NULL THEN 'profile' END
    FROM ours ORDER BY ig_user_id
    ON CONFLICT (ig_user_id) DO UPDATE SET username = EXCLUDED.username, name = EXCLUDED.name,
        profile_pic_url = EXCLUDED.profile_pic_url, last_fetched_at = EXCLUDED.last_fetched_at,
        fail_count = 0, raw = EXCLUDED.raw, expires_at = EXCLUDED.expires_at, last_error = NULL,
        source = EXCLUDED.source
), freed AS (
    UPDATE instagram_participants p SET due_at = NULL, lease = NULL, forced = false
    FROM ours o WHERE p.ig_user_id = o.ig_user_id
){_SUCCEEDED}
SELECT 'settled' AS kind, ig_account_id, ig_user_id, NULL::jsonb AS error FROM ours
UNION ALL SELECT 'suspect', ig_account_id, ig_user_id, error FROM suspects
"""

_CHARGED = (
    """
WITH done AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
        AS d (ig_user_id, ig_account_id, lease, error)
), held AS ("""
    + _HELD
    + """), ours AS ("""
    + _OURS
    + """), cached AS (
    INSERT INTO instagram_user_cache AS c (ig_user_id, fail_count, last_failed_at, last_error)
    SELECT ig_user_id, 1, now(), error::jsonb FROM ours ORDER BY ig_user_id
    ON CONFLICT (ig_user_id) DO UPDATE SET fail_count = LEAST(c.fail_count + 1, $5),
        last_failed_at = EXCLUDED.last_failed_at, last_error = EXCLUDED.last_error
    RETURNING ig_user_id, fail_count, CASE WHEN fail_count < $5
        THEN now() + ($6::interval[])[LEAST(fail_count, cardinality($6::interval[]))]
        END AS next_attempt_at
), freed AS (
    UPDATE instagram_participants p SET due_at = c.next_attempt_at, lease = NULL, forced = false
    FROM cached c WHERE p.ig_user_id = c.ig_user_id
        AND (p.due_at IS NOT NULL OR p.lease IS NOT NULL)
)"""
)
SETTLE_FAILED = (
    _CHARGED
    + _ANSWERED
    + """
SELECT ig_user_id, c.fail_count, c.next_attempt_at FROM cached c
"""
)
# Graph itself may be at fault: no streak ends and no pause is lifted.
SETTLE_UPSTREAM = _CHARGED + "SELECT fail_count, next_attempt_at FROM cached"

# The account of the claim waits, the user's other accounts don't have to.
RELEASE = """
WITH held AS (
    SELECT ig_account_id, ig_user_id FROM instagram_participants
    WHERE ig_user_id = $1 AND lease = $2 ORDER BY ig_account_id FOR UPDATE
)
UPDATE instagram_participants p SET lease = NULL,
    due_at = now() + CASE WHEN p.ig_account_id = $4 THEN $3 ELSE interval '0' END
FROM held h WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id
"""

RENEW = """
WITH held AS (
    SELECT ig_account_id, ig_user_id FROM instagram_participants
    WHERE ig_user_id = $1 AND lease = $2 ORDER BY ig_account_id FOR UPDATE
)
UPDATE instagram_participants p SET due_at = now() + $3::interval
FROM held h WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id
RETURNING true
"""

CHARGE_SUSPECT = """
WITH held AS (
    SELECT ig_user_id FROM instagram_participants
    WHERE ig_user_id = $1 ORDER BY ig_account_id FOR UPDATE
), cached AS (
    INSERT INTO instagram_user_cache AS c (ig_user_id, fail_count, last_failed_at, last_error)
    SELECT $1::text, 1, now(), $2::jsonb
    WHERE EXISTS (SELECT FROM held)
    ON CONFLICT (ig_user_id) DO UPDATE SET fail_count = LEAST(c.fail_count + 1, $3),
        last_failed_at = EXCLUDED.last_failed_at, last_error = EXCLUDED.last_error
    RETURNING ig_user_id, fail_count, CASE WHEN fail_count < $3
        THEN now() + ($4::interval[])[LEAST(fail_count, cardinality($4::interval[]))]
        END AS next_attempt_at
), freed AS (
    UPDATE instagram_participants p SET due_at = c.next_attempt_at
    FROM cached c WHERE p.ig_user_id = c.ig_user_id AND p.due_at IS NOT NULL AND p.lease IS NULL
)
SELECT fail_count, next_attempt_at FROM cached
"""

# Blame that is not yet certain; all of it runs under one advisory lock


# The budget and the pauses

# $1: the interval between places; $2: how far ahead one may be. A place is a time of the server's
# clock, so the answer says what that clock reads.


# Looking up


# Asked for by operators


# Watching


# For the commands
