-- The statements of the commands.

-- name: take_slot
-- $1: the interval between slots; $2: how far ahead a slot can be. Takes a slot despite pauses,
-- since an operator looks for the cause.
INSERT INTO instagram_budget AS b (scope, next_at) VALUES ('app', now() + $1::interval)
ON CONFLICT (scope) DO UPDATE SET
    next_at = instagram_next_slot(b.next_at, $2::interval)
        + instagram_step($1::interval, b.pace, b.paced_until)
WHERE instagram_has_room(b.next_at, $1::interval, $2::interval)
RETURNING EXTRACT(epoch FROM b.next_at - instagram_step($1::interval, b.pace, b.paced_until)
    - clock_timestamp())::float8 AS wait_s;

-- name: end_expired_pauses
-- $1: the scope of an account. A successful call ends the expired pauses, as a resolved user does.
DELETE FROM instagram_pauses WHERE until <= now() AND scope IN ('app', $1);

-- name: list_connections
-- $1: the location, null for all; $2: at most so many. Connections with problems come first.
SELECT k.ig_account_id, array_remove(ARRAY(SELECT unnest(k.alias_ids)), NULL) AS alias_ids,
    COALESCE(k.location_id, '') AS location_id, instagram_login(k.login) AS login,
    COALESCE(k.access_token, '') AS access_token,
    CASE WHEN k.token_status = 'invalid' THEN 'invalid' ELSE 'active' END AS token_status,
    instagram_bounded(COALESCE(k.updated_at, k.created_at, to_timestamp(0))) AS updated_at,
    x.reason AS pause_reason, instagram_bounded(x.until, '9999-12-31 23:59:59+00') AS paused_until,
    count(*) OVER () AS total
FROM instagram_connections k
LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || k.ig_account_id
WHERE $1::text IS NULL OR k.location_id = $1
ORDER BY (k.token_status = 'invalid' OR x.reason IS NOT NULL) IS TRUE DESC,
    k.location_id, k.ig_account_id
LIMIT $2;

-- name: group_users
-- $1: a location, null for all; $2: so many users an account; $3: so many accounts; $4: the TTL;
-- $5: the failures that end retries. Groups the most recent users by state; is_late: due
-- for 10 minutes although no pause applies.
WITH accounts AS (
    SELECT k.ig_account_id,
        x.scope IS NULL AND k.token_status IS DISTINCT FROM 'invalid' AS is_open
    FROM instagram_connections k
    LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || k.ig_account_id
    WHERE $1::text IS NULL OR k.location_id = $1
    ORDER BY k.ig_account_id LIMIT $3
), users AS (
    SELECT DISTINCT ON (p.ig_user_id) p.ig_user_id, c.last_fetched_at IS NOT NULL AS is_fetched,
        instagram_is_fresh(c.last_fetched_at, c.expires_at, $4::interval) AS is_fresh,
        COALESCE(c.fail_count, 0) AS fail_count,
        CASE WHEN c.fail_count > 0 THEN COALESCE(c.last_error->>'reason', 'unknown') END AS reason,
        c.fail_count >= $5 IS TRUE AS is_stopped, c.last_failed_at, c.last_error,
        c.last_failed_at >= now() - interval '1 day' IS TRUE AS is_recent, p.is_late
    FROM accounts a CROSS JOIN LATERAL (
        SELECT p.ig_user_id, (a.is_open AND p.due_at < now() - interval '10 minutes') IS TRUE
            AS is_late
        FROM instagram_participants p WHERE p.ig_account_id = a.ig_account_id
        ORDER BY p.last_message_at DESC LIMIT $2
    ) AS p
    LEFT JOIN instagram_user_cache c ON c.ig_user_id = p.ig_user_id
    ORDER BY p.ig_user_id, p.is_late DESC
)
SELECT is_fetched, is_fresh, fail_count, reason, is_stopped, is_recent, is_late,
    count(*) AS users, instagram_bounded(max(last_failed_at)) AS last_failed_at,
    (array_agg(last_error ORDER BY last_failed_at DESC NULLS LAST))[1] AS last_error
FROM users GROUP BY 1, 2, 3, 4, 5, 6, 7 LIMIT 10000;
