-- The figures that the verdict is based on.

-- name: writers
-- $1 the location, null for all; $2 at most so many
WITH wrote AS MATERIALIZED (
    SELECT p.ig_account_id, p.ig_user_id, p.last_message_at FROM instagram_participants p
    WHERE p.last_message_at > now() - interval '1 hour'
        AND ($1::text IS NULL OR EXISTS (
            SELECT FROM instagram_connections k
            WHERE k.ig_account_id = p.ig_account_id AND k.location_id = $1))
    ORDER BY p.last_message_at DESC, p.ig_user_id DESC, p.ig_account_id DESC LIMIT $2::bigint
), app AS (
    SELECT reason FROM instagram_active_pauses WHERE scope = 'app'
)
SELECT w.ig_account_id, k.username AS account_username, k.location_id, w.ig_user_id,
    c.username, c.name, c.fail_count, c.last_error->>'reason' AS reason,
    c.last_error->>'code' AS code, c.last_error->>'subcode' AS subcode,
    instagram_blocked_by((SELECT reason FROM app), k.ig_account_id, x.reason, k.token_status)
        AS blocked_by,
    EXTRACT(epoch FROM now() - instagram_bounded(w.last_message_at))::float8 AS age_s
FROM wrote w
LEFT JOIN instagram_user_cache c ON c.ig_user_id = w.ig_user_id
LEFT JOIN instagram_connections k ON k.ig_account_id = w.ig_account_id
LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || w.ig_account_id
ORDER BY w.last_message_at DESC;

-- name: pauses
-- $1 the location or null, $2 at most so many pauses, $3 the highest count of users. Returns pauses
-- with the number of waiting users. Unconnected accounts have no row in instagram_pauses: they are
-- found among 2,000 accounts with due users, one index step each.
WITH RECURSIVE due_accounts AS (
    (SELECT ig_account_id, 1 AS nth FROM instagram_participants
        WHERE due_at IS NOT NULL AND $1::text IS NULL ORDER BY ig_account_id LIMIT 1)
    UNION ALL
    SELECT n.ig_account_id, a.nth + 1
    FROM due_accounts a CROSS JOIN LATERAL (
        SELECT p.ig_account_id FROM instagram_participants p
        WHERE p.due_at IS NOT NULL AND p.ig_account_id > a.ig_account_id
        ORDER BY p.ig_account_id LIMIT 1
    ) AS n
    WHERE a.nth < 2000
), held_back AS (
    SELECT scope, reason, until FROM instagram_active_pauses WHERE reason <> 'no_connection'
    UNION ALL
    SELECT 'account:' || ig_account_id, 'no_connection', 'infinity' FROM due_accounts a
    WHERE NOT EXISTS (
        SELECT FROM instagram_connections k WHERE k.ig_account_id = a.ig_account_id)
)
SELECT x.scope, x.reason, CASE WHEN isfinite(x.until) THEN instagram_bounded(x.until) END AS until,
    CASE WHEN x.scope = 'app' THEN (
        SELECT count(*) FROM (
            SELECT FROM instagram_connections k CROSS JOIN LATERAL (
                SELECT FROM instagram_participants p
                WHERE p.ig_account_id = k.ig_account_id AND p.due_at <= now() LIMIT $3
            ) AS due LIMIT $3::bigint
        ) AS held
    ) ELSE (
        SELECT count(*) FROM (
            SELECT FROM instagram_participants p
            WHERE p.ig_account_id = substr(x.scope, 9) AND p.due_at <= now() LIMIT $3
        ) AS held
    ) END AS held,
    k.username, k.location_id
FROM held_back x
LEFT JOIN instagram_connections k ON x.scope = 'account:' || k.ig_account_id
WHERE $1::text IS NULL OR x.scope = 'app' OR k.location_id = $1
ORDER BY x.scope <> 'app', x.reason IN ('throttled', 'outage'), x.scope LIMIT $2::bigint;

-- name: connected
-- $1 the location or null
SELECT count(*) AS connected FROM instagram_connections k
WHERE $1::text IS NULL OR k.location_id = $1;
