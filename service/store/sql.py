"""Every statement the service sends, constant and named.

Parameters that recur: `$ttl` the TTL of an identity, `$max` the failures after which retries stop,
`$waits` the waits between failures. They are filled in by position in `_rules`; times are the
database's own (`now()`), so that replicas with different clocks agree.
"""

from __future__ import annotations

from service.model import CONSENT_RETRY_AFTER

# Pure rules, the SQL twins of service.model.is_fresh and service.model.next_fetch.
# `c` is a row of instagram_user_cache or all nulls.

# A time written by hand may lie at the end of PostgreSQL's calendar, where an interval can't be
# added to it any more.
_LATEST = "timestamptz '9980-01-01 00:00+00'"
_FRESH = (
    "(c.last_fetched_at IS NOT NULL AND"
    " COALESCE(c.expires_at, LEAST(c.last_fetched_at, " + _LATEST + ") + {ttl}::interval) > now())"
)
_CONSENT_MISSING = "(c.fail_count > 0 AND c.last_error->>'reason' = 'consent_required')"
_FAILED_AT = (
    "CASE WHEN c.last_failed_at IS NOT NULL THEN LEAST(c.last_failed_at, " + _LATEST + ") END"
)
_RETRY_AT = (
    "COALESCE(" + _FAILED_AT + " + ({waits}::interval[])"
    "[LEAST(c.fail_count, cardinality({waits}::interval[]))], now())"
)
_CONSENTED_AT = (
    "GREATEST(now(), " + _FAILED_AT + " + interval '"
    f"{CONSENT_RETRY_AFTER.total_seconds():.0f} seconds')"
)
_NEXT_FETCH = (
    "CASE WHEN c.ig_user_id IS NULL THEN now()"
    " WHEN " + _FRESH + " THEN NULL"
    " WHEN c.fail_count = 0 THEN now()"
    " WHEN {wrote} AND " + _CONSENT_MISSING + " THEN LEAST(" + _CONSENTED_AT + ","
    " CASE WHEN c.fail_count < {max} THEN " + _RETRY_AT + " END)"
    " WHEN c.fail_count >= {max} THEN NULL"
    " ELSE " + _RETRY_AT + " END"
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


def _finite(moment: str, latest: str = "9980-01-01 00:00+00") -> str:
    """Bring a time within what Python's calendar holds, with room for a TTL."""
    return (
        f"CASE WHEN {moment} IS NOT NULL THEN LEAST(GREATEST({moment},"
        f" timestamptz '0002-01-01 00:00+00'), timestamptz '{latest}') END"
    )


_PAUSED_UNTIL = _finite("GREATEST(x.until, x.probing_until)", "9999-12-31 23:59:59+00")

# Receiving

_FRESH_UNTIL = _finite(
    "COALESCE(c.expires_at,"
    " LEAST(c.last_fetched_at, timestamptz '9980-01-01 00:00+00') + $6::interval)"
)
JOURNAL = f"""
WITH incoming AS (
    SELECT i.*, {_NEXT_FETCH.format(ttl="$6", max="$7", waits="$8", wrote="i.wrote")} AS due_at,
        (i.wrote AND {_CONSENT_MISSING} AND NOT {_FRESH.format(ttl="$6")}) IS TRUE AS forced,
        COALESCE(c.fail_count, 0) AS fail_count,
        CASE WHEN {_FRESH.format(ttl="$6")} THEN {_FRESH_UNTIL} END AS fresh_until
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::boolean[])
        AS i (ig_account_id, ig_user_id, first_at, last_at, wrote)
    LEFT JOIN instagram_user_cache c USING (ig_user_id)
), journalled AS (
    INSERT INTO instagram_participants AS p
        (ig_account_id, ig_user_id, first_message_at, last_message_at, due_at, forced)
    SELECT ig_account_id, ig_user_id, LEAST(first_at, now()), LEAST(last_at, now()), due_at, forced
    FROM incoming ORDER BY ig_user_id, ig_account_id
    ON CONFLICT (ig_account_id, ig_user_id) DO UPDATE SET
        first_message_at = LEAST(
            GREATEST(p.first_message_at, timestamptz 'epoch'), EXCLUDED.first_message_at),
        last_message_at = LEAST(GREATEST(p.last_message_at, EXCLUDED.last_message_at), now()),
        forced = p.forced OR (EXCLUDED.forced AND NOT {_LEASED}),
        due_at = CASE WHEN EXCLUDED.forced AND NOT {_LEASED}
            THEN LEAST(p.due_at, EXCLUDED.due_at) ELSE COALESCE(p.due_at, EXCLUDED.due_at) END
    RETURNING p.ig_account_id, p.ig_user_id, p.last_message_at, p.due_at, p.lease
)
SELECT j.ig_account_id, j.ig_user_id, j.last_message_at, i.fresh_until,
    j.due_at IS NOT NULL AND i.fail_count = 0 AS is_scheduled,
    COALESCE(j.due_at <= now(), false) AS is_due
FROM journalled j JOIN incoming i USING (ig_account_id, ig_user_id)
"""

# Resolving

# Whoever takes a user takes every participant of the user: a claimer whose snapshot is too old to
# see another account's participant finds its own one leased.
CLAIM = f"""
WITH wanted AS (
    SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS w (ig_account_id, ig_user_id)
), held AS (
    SELECT p.ig_account_id, p.ig_user_id, p.due_at, p.forced, {_LEASED} AS is_leased
    FROM instagram_participants p WHERE p.ig_user_id = ANY ($2::text[])
    ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
), judged AS (
    SELECT h.ig_account_id, h.ig_user_id, COALESCE(k.access_token, '') AS access_token,
        instagram_login(k.login) AS login, CASE
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
SELECT j.ig_account_id, j.ig_user_id, j.access_token, j.login,
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

LOCK_STREAKS = "SELECT pg_advisory_xact_lock(hashtext('instagram_streaks'))"
LOCK_LEASE = """
SELECT count(*) > 0 FROM (
    SELECT FROM instagram_participants WHERE ig_user_id = $1 AND lease = $2
    ORDER BY ig_account_id FOR UPDATE
) AS held
"""
PAUSE_ROW = "SELECT reason FROM instagram_pauses WHERE scope = $1"
PRIOR_FAILURE = f"""
SELECT fail_count, {_finite("last_failed_at")} AS last_failed_at, last_error
FROM instagram_user_cache WHERE ig_user_id = $1
"""
# `length`: how many users have failed in a row for this reason.
ADD_TO_STREAK = """
INSERT INTO instagram_streaks AS s (scope, ig_user_id, ig_account_id, error,
    prior_fail_count, prior_last_failed_at, prior_last_error)
VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7::jsonb)
ON CONFLICT (scope, ig_user_id) DO UPDATE SET ig_account_id = EXCLUDED.ig_account_id,
    error = EXCLUDED.error, tries = s.tries + 1, failed_at = EXCLUDED.failed_at
RETURNING tries, (SELECT count(*) FROM instagram_streaks o
    WHERE o.scope = $1 AND o.ig_user_id <> $2
        AND o.error->>'reason' = $4::jsonb->>'reason') + 1 AS length
"""
STREAK_SIZE = """
SELECT count(*) AS users, count(DISTINCT ig_account_id) AS accounts
FROM instagram_streaks WHERE scope = $1
"""
FORGET_IN_STREAKS = """
DELETE FROM instagram_streaks
WHERE (scope LIKE 'accounts:%' OR scope = ANY ($2::text[])) AND ig_account_id = $1
"""
FORGET_OUTAGES = "DELETE FROM instagram_streaks WHERE scope LIKE 'outage:%'"
# Another account that may be called, and whose users have written lately or are due.
OTHER_IS_ACTIVE = f"""
SELECT EXISTS (
    SELECT FROM instagram_connections k
    LEFT JOIN instagram_pauses x ON x.scope = 'account:' || k.ig_account_id
    WHERE k.ig_account_id <> $1 AND k.token_status = 'active' AND {_PAUSED} IS NOT TRUE
        AND EXISTS (
            SELECT FROM instagram_participants p WHERE p.ig_account_id = k.ig_account_id
                AND (p.last_message_at > now() - interval '1 hour' OR p.due_at <= now()))
)
"""
END_STREAK = """
DELETE FROM instagram_streaks WHERE scope = $1
RETURNING ig_user_id, failed_at, prior_fail_count, prior_last_failed_at, prior_last_error
"""
# Whom the failure had stopped, or who was forced, is to be fetched all the same.
REFUND = """
WITH refunded AS (
    UPDATE instagram_user_cache SET fail_count = $3, last_failed_at = $4, last_error = $5::jsonb
    WHERE ig_user_id = $1 AND last_failed_at = $2 RETURNING true
)
UPDATE instagram_participants SET due_at = now(), forced = forced OR EXISTS (SELECT FROM refunded)
WHERE ig_user_id = $1 AND lease IS NULL
    AND (due_at IS NOT NULL OR EXISTS (SELECT FROM refunded))
"""
DUE_NOW = """
UPDATE instagram_participants SET due_at = now()
WHERE ig_account_id = $1 AND ig_user_id = ANY ($2::text[]) AND lease IS NULL
"""

# The budget and the pauses

# $1: the interval between places; $2: how far ahead one may be. A place is a time of the server's
# clock, so the answer says what that clock reads.

SERVER_CLOCK = "SELECT EXTRACT(epoch FROM clock_timestamp())::float8 AS clock_s"
_STEP = "$1::interval / CASE WHEN b.paced_until > now() THEN b.pace ELSE 1 END"
_HAS_ROOM = (
    "(b.next_at <= now() + $2::interval"
    " OR b.next_at > now() + 2 * $2::interval + $1::interval * 1000)"  # a clock was set back
)
_NEXT_PLACE = "LEAST(GREATEST(b.next_at, now()), now() + $2::interval)"

# A probe goes to another user, and for the app to another account, than the failure that caused the
# pause, if one is due. Once the pause has been over for a moment anybody may probe.
_CALLABLE = "(p.due_at <= now() OR (p.lease IS NOT NULL AND p.due_at > now()))"
_LEAVES_PROBE = f"""(x.until > now() - interval '5 seconds' AND (
    (x.caused_by_user = $6 AND EXISTS (
        SELECT FROM instagram_participants p
        WHERE p.ig_account_id = substr($3, length('account:') + 1) AND p.ig_user_id <> $6
            AND {_CALLABLE}))
    OR (x.scope = 'app' AND 'account:' || x.caused_by_account = $3 AND EXISTS (
        SELECT FROM instagram_connections k
        LEFT JOIN instagram_pauses y ON y.scope = 'account:' || k.ig_account_id
        WHERE 'account:' || k.ig_account_id <> $3 AND k.token_status = 'active'
            AND (y.until > now()) IS NOT TRUE AND EXISTS (
                SELECT FROM instagram_participants p
                WHERE p.ig_account_id = k.ig_account_id AND {_CALLABLE})))))"""

# $4: how long a probe may take; $5: the caller is the probe already, and asks for its second try;
# $6: the user. A pause that has run out becomes a probe only with a place: what finds the budget
# full leaves the probe to the next.
RESERVE = f"""
WITH here AS (
    SELECT x.scope, x.reason, GREATEST(x.until, x.probing_until) AS until,
        x.until > now() OR (NOT $5::boolean
            AND (COALESCE(x.probing_until > now(), false) OR {_LEAVES_PROBE})) AS is_paused
    FROM instagram_pauses x WHERE x.scope IN ('app', $3)
), over AS (
    SELECT x.scope FROM instagram_pauses x
    WHERE x.scope IN ('app', $3) AND x.until <= now()
        AND ($5::boolean OR COALESCE(x.probing_until <= now(), true))
        AND NOT EXISTS (SELECT FROM here WHERE is_paused)
    ORDER BY x.scope FOR UPDATE
), slot AS (
    INSERT INTO instagram_budget AS b (scope, next_at)
    SELECT 'app', now() + $1::interval
    WHERE NOT EXISTS (SELECT FROM here WHERE is_paused)
        AND (SELECT count(*) FROM here) = (SELECT count(*) FROM over)
    ON CONFLICT (scope) DO UPDATE SET next_at = {_NEXT_PLACE} + {_STEP} WHERE {_HAS_ROOM}
    RETURNING b.next_at - {_STEP} AS at
), probe AS (
    UPDATE instagram_pauses x SET probing_until = now() + $4::interval
    FROM over o WHERE x.scope = o.scope AND EXISTS (SELECT FROM slot)
    RETURNING x.scope
)
SELECT EXTRACT(epoch FROM s.at)::float8 AS at_s,
    EXTRACT(epoch FROM clock_timestamp())::float8 AS clock_s,
    h.reason AS paused_by, h.scope AS paused_scope, EXISTS (SELECT FROM probe) AS is_probe,
    (SELECT EXTRACT(epoch FROM b.next_at - now() - $2::interval)::float8
        FROM instagram_budget b WHERE b.scope = 'app') AS full_for_s
FROM (SELECT) AS one
LEFT JOIN slot s ON true
LEFT JOIN LATERAL (
    SELECT reason, scope FROM here WHERE is_paused ORDER BY until DESC LIMIT 1) AS h ON true
"""
# The same for many at once, as long as neither the app nor the account has a pause, run out or not.
RESERVE_TOGETHER = f"""
WITH asked AS (
    SELECT a.nth, NOT EXISTS (
        SELECT FROM instagram_pauses x WHERE x.scope IN ('app', a.scope)) AS is_plain
    FROM unnest($3::text[]) WITH ORDINALITY AS a (scope, nth)
), budget AS (
    SELECT CASE WHEN {_HAS_ROOM} THEN {_NEXT_PLACE} END AS first_at, {_STEP} AS step, b.next_at
    FROM instagram_budget b WHERE b.scope = 'app' FOR UPDATE
), placed AS (
    SELECT p.nth, b.first_at + b.step * (row_number() OVER (ORDER BY p.nth) - 1) AS at
    FROM asked p, budget b WHERE p.is_plain
), given AS (
    SELECT nth, at FROM placed WHERE at <= now() + $2::interval
), taken AS (
    UPDATE instagram_budget b SET next_at = g.last_at + g.step
    FROM (SELECT max(at) AS last_at, max(step) AS step FROM given, budget) AS g
    WHERE b.scope = 'app' AND g.last_at IS NOT NULL
    RETURNING b.next_at
)
SELECT a.is_plain AND b.next_at IS NOT NULL AS is_plain,
    EXTRACT(epoch FROM g.at)::float8 AS at_s,
    EXTRACT(epoch FROM clock_timestamp())::float8 AS clock_s,
    NULL AS paused_by, NULL AS paused_scope, false AS is_probe,
    EXTRACT(epoch FROM COALESCE(t.next_at, b.next_at) - now() - $2::interval)::float8 AS full_for_s
FROM asked a LEFT JOIN given g USING (nth) LEFT JOIN budget b ON true LEFT JOIN taken t ON true
ORDER BY a.nth
"""

PACE = """
INSERT INTO instagram_budget (scope, next_at, pace, paced_until)
VALUES ('app', now(), $1, now() + $2::interval)
ON CONFLICT (scope) DO UPDATE SET pace = EXCLUDED.pace, paced_until = EXCLUDED.paced_until
"""

# $3: how long Meta says, else null; $4: how long the first time; $5: the longest; $6, $7: whose
# failure caused it. A pause that is still on is only made longer by what Meta says: calls in flight
# together are one strike.
PAUSE = """
INSERT INTO instagram_pauses AS x (scope, reason, until, caused_by_account, caused_by_user)
VALUES ($1, $2, now() + COALESCE($3::interval, $4::interval), $6, $7)
ON CONFLICT (scope) DO UPDATE SET
    reason = CASE WHEN x.until > now() AND x.until >= EXCLUDED.until
        THEN x.reason ELSE EXCLUDED.reason END,
    strikes = CASE WHEN x.until > now() THEN x.strikes
        WHEN x.reason = EXCLUDED.reason THEN x.strikes + 1 ELSE 1 END,
    until = CASE
        WHEN x.until > now() AND x.reason = EXCLUDED.reason AND $3::interval IS NULL THEN x.until
        WHEN x.until > now() THEN GREATEST(x.until, EXCLUDED.until)
        WHEN x.reason = EXCLUDED.reason AND $3::interval IS NULL
            THEN now() + LEAST($4::interval * power(2, LEAST(x.strikes, 20)), $5::interval)
        ELSE EXCLUDED.until END,
    probing_until = NULL, caused_by_account = EXCLUDED.caused_by_account,
    caused_by_user = EXCLUDED.caused_by_user
RETURNING until
"""
PAUSE_UNTIL_CHANGED = """
INSERT INTO instagram_pauses AS x (scope, reason, until) VALUES ($1, $2, 'infinity')
ON CONFLICT (scope) DO UPDATE SET
    reason = EXCLUDED.reason, until = EXCLUDED.until, probing_until = NULL, created_at = now()
"""
PAUSES = f"""
SELECT x.scope, {_PAUSED_UNTIL} AS until, x.reason,
    CASE WHEN isfinite(x.until)
        THEN EXTRACT(epoch FROM GREATEST(x.until, x.probing_until) - now()) ELSE 1e9
        END::float8 AS left_s
FROM instagram_pauses x WHERE {_PAUSED} ORDER BY x.scope <> 'app', x.scope LIMIT $1
"""
BUDGET_WAIT = """
SELECT GREATEST(EXTRACT(epoch FROM next_at - now()), 0)::float8 AS wait_s,
    CASE WHEN paced_until > now() THEN pace ELSE 1 END AS pace
FROM instagram_budget WHERE scope = 'app'
"""

# Sweeping


# Looking up

# What blocks a user is read only where the identity is not fresh, or with $3.
LOOKUP = f"""
SELECT u.ig_user_id, c.username, c.name, c.profile_pic_url,
    {_finite("c.last_fetched_at")} AS last_fetched_at, {_finite("c.expires_at")} AS expires_at,
    COALESCE(c.fail_count, 0) AS fail_count, {_finite("c.last_failed_at")} AS last_failed_at,
    c.last_error->>'reason' AS last_reason, p.is_participant IS TRUE AS is_participant,
    p.is_scheduled IS TRUE AS is_scheduled, p.pause, p.doubt, p.doubted_at, now() AS read_at,
    c.source, i.sha256 AS picture_sha256, {_finite("i.copied_at")} AS picture_copied_at
FROM unnest($1::text[]) WITH ORDINALITY AS u (ig_user_id, place)
LEFT JOIN instagram_user_cache c ON c.ig_user_id = u.ig_user_id
LEFT JOIN instagram_pictures i ON i.ig_user_id = c.ig_user_id
LEFT JOIN LATERAL (
    SELECT true AS is_participant, bool_or(due_at IS NOT NULL) AS is_scheduled,
        CASE WHEN bool_and(blocked IS NOT NULL)
            THEN (array_agg(blocked ORDER BY last_message_at DESC))[1] END AS pause,
        (array_agg(doubt ORDER BY doubted_at DESC NULLS LAST))[1] AS doubt,
        max(doubted_at) AS doubted_at
    FROM (
        SELECT p.due_at, p.last_message_at, {_BLOCKED} AS blocked, s.error->>'reason' AS doubt,
            s.failed_at AS doubted_at
        FROM instagram_participants p
        LEFT JOIN instagram_connections k ON k.ig_account_id = p.ig_account_id
        LEFT JOIN instagram_pauses x ON x.scope = 'account:' || p.ig_account_id
        LEFT JOIN instagram_streaks s
            ON s.scope = 'account:' || p.ig_account_id AND s.ig_user_id = p.ig_user_id
        WHERE p.ig_user_id = u.ig_user_id
            AND ($3::boolean OR {_FRESH.format(ttl="$2")} IS NOT TRUE)
    ) AS of_user
    HAVING count(*) > 0
) AS p ON true
ORDER BY u.place
"""

SCHEDULE_STALE = f"""
WITH held AS (
    SELECT p.ig_account_id, p.ig_user_id FROM instagram_participants p
    WHERE p.ig_user_id = ANY ($1::text[]) AND p.due_at IS NULL
    ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
)
UPDATE instagram_participants p SET due_at = n.due_at
FROM (
    SELECT h.*, {_NEXT_FETCH.format(ttl="$2", max="$3", waits="$4", wrote="false")} AS due_at
    FROM held h LEFT JOIN instagram_user_cache c USING (ig_user_id)
) AS n
WHERE p.ig_account_id = n.ig_account_id AND p.ig_user_id = n.ig_user_id AND n.due_at IS NOT NULL
RETURNING p.ig_account_id, p.ig_user_id, p.due_at <= now() AS is_due
"""

# Asked for by operators

# Those who have just failed come last, so that asking again and again reaches everybody. $9: only
# failures from before then are tried again.
CANDIDATES = f"""
WITH accounts AS (
    SELECT ig_account_id FROM instagram_connections WHERE location_id = $1
), found AS (
    SELECT f.* FROM accounts a CROSS JOIN LATERAL (
        SELECT p.ig_user_id, p.last_message_at,
            c.last_failed_at > now() - interval '10 minutes' AS has_just_failed
        FROM instagram_participants p LEFT JOIN instagram_user_cache c USING (ig_user_id)
        WHERE p.ig_account_id = a.ig_account_id AND p.last_message_at >= now() - $2::interval
            AND {_FRESH.format(ttl="$3")} IS NOT TRUE
            AND (COALESCE(c.fail_count, 0) = 0
                OR (c.fail_count < $4 AND {_RETRY_AT.format(waits="$5")} <= now())
                OR ($6::boolean AND ($9::timestamptz IS NULL OR c.last_failed_at IS NULL
                    OR c.last_failed_at < $9)))
        ORDER BY p.last_message_at DESC LIMIT $7
    ) AS f
), users AS (
    SELECT ig_user_id, max(last_message_at) AS last_message_at,
        bool_or(has_just_failed) IS TRUE AS has_just_failed
    FROM found GROUP BY ig_user_id
)
SELECT ig_user_id, LEAST(count(*) OVER (), $7) AS candidates
FROM users ORDER BY has_just_failed, last_message_at DESC, ig_user_id LIMIT $8
"""

# Watching

COUNTS = """
SELECT c.resolved, c.failed, p.pending
FROM (
    SELECT count(*) FILTER (WHERE last_fetched_at IS NOT NULL) AS resolved,
        count(*) FILTER (WHERE last_fetched_at IS NULL AND fail_count >= $1) AS failed
    FROM instagram_user_cache
) AS c
CROSS JOIN (
    SELECT count(DISTINCT p.ig_user_id) AS pending
    FROM instagram_participants p LEFT JOIN instagram_user_cache c USING (ig_user_id)
    WHERE c.last_fetched_at IS NULL AND COALESCE(c.fail_count, 0) < $1
) AS p
"""

# For the commands
