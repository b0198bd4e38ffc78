-- Users that a backfill does not fetch.

-- name: left_out
-- $1 the location, $2 how far back, $3 the TTL, $4 the failures that end retries, $5 the waits
-- between failures, $6 include failed users, $7 at most so many per account. Counts users without a
-- fresh identity under the first that applies: stopped, paused accounts, waiting after a failure.
WITH app AS (
    SELECT reason FROM instagram_active_pauses WHERE scope = 'app'
), found AS (
    SELECT f.*, instagram_blocked_by((SELECT reason FROM app), k.ig_account_id, x.reason,
        k.token_status) IS NOT NULL AS is_blocked
    FROM instagram_connections k
    LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || k.ig_account_id
    CROSS JOIN LATERAL (
        SELECT p.ig_user_id, COALESCE(c.fail_count, 0) AS fail_count,
            instagram_retry_at(c.last_failed_at, c.fail_count, $5::interval[]) AS retry_at
        FROM instagram_participants p LEFT JOIN instagram_user_cache c USING (ig_user_id)
        WHERE p.ig_account_id = k.ig_account_id AND p.last_message_at >= now() - $2::interval
            AND instagram_is_fresh(c.last_fetched_at, c.expires_at, $3::interval) IS NOT TRUE
            AND (c.fail_count > 0 OR (SELECT reason FROM app) IS NOT NULL OR x.reason IS NOT NULL
                OR k.token_status = 'invalid')
        ORDER BY p.last_message_at DESC LIMIT $7::bigint
    ) AS f
    WHERE k.location_id = $1::text
), users AS (
    SELECT ig_user_id, max(fail_count) >= $4::integer AND NOT $6::boolean AS is_stopped,
        bool_and(is_blocked) AS is_paused,
        max(fail_count) > 0 AND NOT $6 AND max(retry_at) > now() AS is_waiting,
        max(retry_at) AS retry_at
    FROM found GROUP BY ig_user_id
)
SELECT count(*) FILTER (WHERE is_stopped) AS stopped,
    count(*) FILTER (WHERE is_paused AND NOT is_stopped) AS paused,
    count(*) FILTER (WHERE is_waiting AND NOT is_paused AND NOT is_stopped) AS waiting,
    max(retry_at) FILTER (WHERE is_waiting AND NOT is_paused AND NOT is_stopped) AS waiting_until,
    now() AS asked_at
FROM users;
