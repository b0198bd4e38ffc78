-- Stores the outcomes of claims that have not been lost. `held` are the users' participants, `ours`
-- the claims whose lease one of them still has; an erased user's or lapsed claim is lost. An UPDATE
-- names the users again, as in claiming.sql.

-- name: settle_resolved
-- $1 users, $2 accounts, $3 leases, $4 usernames, $5 names, $6 pictures, $7 whole answers, $8 when
-- each picture's URL ends; $9: the TTL. A success ends the expired pauses of its account
-- and of the app, and the streaks that it interrupts; users whose unclear failure was their own are
-- returned as suspects.
WITH done AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
        $7::text[], $8::timestamptz[])
        AS d (ig_user_id, ig_account_id, lease, username, name, profile_pic_url, raw, picture_until)
), held AS (
    SELECT p.ig_account_id, p.ig_user_id, p.lease FROM instagram_participants p
    WHERE p.ig_user_id = ANY ($1::text[]) ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
), ours AS (
    SELECT DISTINCT ON (d.ig_user_id) d.* FROM done d WHERE EXISTS (
        SELECT FROM held h WHERE h.ig_user_id = d.ig_user_id AND h.lease = d.lease)
), cached AS (
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
    FROM ours o WHERE p.ig_user_id = ANY ($1::text[]) AND p.ig_user_id = o.ig_user_id
), unpaused AS (
    DELETE FROM instagram_pauses x USING ours o
    WHERE x.until <= now() AND x.scope IN ('app', 'account:' || o.ig_account_id)
), ended AS (
    DELETE FROM instagram_streaks s USING ours o
    WHERE s.scope IN ('app', 'accounts:outage', 'accounts:bad_request',
        'outage:' || o.ig_account_id, 'account:' || o.ig_account_id)
    RETURNING s.scope, s.ig_user_id, s.error,
        s.ig_user_id IN (SELECT ig_user_id FROM ours) AS has_succeeded
)
SELECT 'settled' AS kind, ig_account_id, ig_user_id, NULL::jsonb AS error FROM ours
UNION ALL
SELECT DISTINCT 'suspect', substr(scope, length('account:') + 1), ig_user_id, error
FROM ended WHERE scope LIKE 'account:%' AND NOT has_succeeded;

-- name: settle_failed
-- $1 users, $2 accounts, $3 leases, $4 errors; $5: the failures that end retries; $6: the waits
-- between failures; $7: Meta answered about the user. That proves that Graph works, which ends
-- expired pauses and streaks, but says nothing about other users' unclear failures.
WITH done AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
        AS d (ig_user_id, ig_account_id, lease, error)
), held AS (
    SELECT p.ig_account_id, p.ig_user_id, p.lease FROM instagram_participants p
    WHERE p.ig_user_id = ANY ($1::text[]) ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
), ours AS (
    SELECT DISTINCT ON (d.ig_user_id) d.* FROM done d WHERE EXISTS (
        SELECT FROM held h WHERE h.ig_user_id = d.ig_user_id AND h.lease = d.lease)
), cached AS (
    INSERT INTO instagram_user_cache AS c (ig_user_id, fail_count, last_failed_at, last_error)
    SELECT ig_user_id, 1, now(), error::jsonb FROM ours ORDER BY ig_user_id
    ON CONFLICT (ig_user_id) DO UPDATE SET fail_count = LEAST(c.fail_count + 1, $5),
        last_failed_at = EXCLUDED.last_failed_at, last_error = EXCLUDED.last_error
    RETURNING ig_user_id, fail_count, CASE WHEN fail_count < $5
        THEN instagram_retry_at(last_failed_at, fail_count, $6::interval[]) END AS next_attempt_at
), freed AS (
    UPDATE instagram_participants p SET due_at = c.next_attempt_at, lease = NULL, forced = false
    FROM cached c WHERE p.ig_user_id = ANY ($1::text[]) AND p.ig_user_id = c.ig_user_id
        AND (p.due_at IS NOT NULL OR p.lease IS NOT NULL)
), unpaused AS (
    DELETE FROM instagram_pauses x USING ours o
    WHERE $7::boolean AND x.until <= now() AND x.scope IN ('app', 'account:' || o.ig_account_id)
), ended AS (
    DELETE FROM instagram_streaks s USING ours o
    WHERE $7 AND (s.scope IN ('app', 'accounts:outage', 'outage:' || o.ig_account_id)
        OR (s.scope = 'account:' || o.ig_account_id AND s.ig_user_id = o.ig_user_id))
)
SELECT ig_user_id, fail_count, next_attempt_at FROM cached;

-- name: charge_suspect
-- $1: a user; $2: the error; $3: the failures that end retries; $4: the waits between failures.
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
        THEN instagram_retry_at(last_failed_at, fail_count, $4::interval[]) END AS next_attempt_at
), freed AS (
    UPDATE instagram_participants p SET due_at = c.next_attempt_at
    FROM cached c WHERE p.ig_user_id = c.ig_user_id AND p.due_at IS NOT NULL AND p.lease IS NULL
)
SELECT fail_count, next_attempt_at FROM cached;
