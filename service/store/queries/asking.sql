-- Operators' requests: refresh, backfill, erasure.

-- name: clear_failures
-- $1: a user.
UPDATE instagram_user_cache SET fail_count = 0 WHERE ig_user_id = $1 AND fail_count > 0;

-- name: force
-- $1: users; $2: include fresh ones; $3: the failures that end retries. Makes every participant of
-- the users due; an active claim keeps its lease. Without $2 the claim checks again, so that a call
-- that settles in the meantime is not repeated.
WITH held AS (
    SELECT p.ig_account_id, p.ig_user_id FROM instagram_participants p
    WHERE p.ig_user_id = ANY ($1::text[])
    ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
), forced AS (
    UPDATE instagram_participants p SET due_at = now(),
        forced = p.forced OR $2::boolean OR COALESCE(c.fail_count >= $3, false)
    FROM held h LEFT JOIN instagram_user_cache c USING (ig_user_id)
    WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id
        AND instagram_is_leased(p.lease, p.due_at) IS NOT TRUE
)
SELECT h.ig_account_id, h.ig_user_id, now() AS forced_at, instagram_blocked_by(
    (SELECT reason FROM instagram_active_pauses WHERE scope = 'app'),
    k.ig_account_id, x.reason, k.token_status) AS blocked
FROM held h JOIN instagram_participants p USING (ig_account_id, ig_user_id)
LEFT JOIN instagram_connections k ON k.ig_account_id = h.ig_account_id
LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || h.ig_account_id
ORDER BY p.last_message_at DESC;

-- name: has_location
-- $1: a location.
SELECT EXISTS (SELECT FROM instagram_connections WHERE location_id = $1);

-- name: erase_participants
-- $1: users.
WITH held AS (
    SELECT ig_account_id, ig_user_id FROM instagram_participants
    WHERE ig_user_id = ANY ($1::text[]) ORDER BY ig_user_id, ig_account_id FOR UPDATE
)
DELETE FROM instagram_participants p USING held h
WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id;

-- name: erase_streaks
-- $1: users.
DELETE FROM instagram_streaks WHERE ig_user_id = ANY ($1::text[]);

-- name: erase_pauses
-- $1: users. Removes the users as causes of pauses, which stay. A pause that is being written is
-- skipped: writing it names no user without a participant.
WITH held AS (
    SELECT scope FROM instagram_pauses WHERE caused_by_user = ANY ($1::text[])
    FOR UPDATE SKIP LOCKED
)
UPDATE instagram_pauses x SET caused_by_user = NULL FROM held h WHERE x.scope = h.scope;

-- name: erase_forwards
-- $1: users. Deletes the deliveries that contain only their messages.
DELETE FROM instagram_forwards WHERE only_user_id = ANY ($1::text[]);

-- name: erase_identities
-- $1: users.
DELETE FROM instagram_user_cache WHERE ig_user_id = ANY ($1::text[]);

-- name: find_candidates
-- $1: the location; $2: within; $3: the TTL; $4: the failures that end retries; $5: the waits
-- between failures; $6: include users who wait or have stopped, $9: if they failed before then; $7:
-- the highest count; $8: at most so many. Users who have just failed come last, so that repeated
-- backfills reach everybody.
WITH accounts AS (
    SELECT ig_account_id FROM instagram_connections WHERE location_id = $1
), found AS (
    SELECT f.* FROM accounts a CROSS JOIN LATERAL (
        SELECT p.ig_user_id, p.last_message_at,
            c.last_failed_at > now() - interval '10 minutes' AS has_just_failed
        FROM instagram_participants p LEFT JOIN instagram_user_cache c USING (ig_user_id)
        WHERE p.ig_account_id = a.ig_account_id AND p.last_message_at >= now() - $2::interval
            AND NOT instagram_is_fresh(c.last_fetched_at, c.expires_at, $3::interval)
            AND (COALESCE(c.fail_count, 0) = 0
                OR (c.fail_count < $4
                    AND instagram_retry_at(c.last_failed_at, c.fail_count, $5::interval[]) <= now())
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
FROM users ORDER BY has_just_failed, last_message_at DESC, ig_user_id LIMIT $8;
