-- Claims: at most one call in flight per user, over all replicas. The UPDATE names the users again,
-- although its join does: in a plan that a session made while the table was small and keeps until
-- the table is analyzed, the join alone reads the whole table.

-- name: claim
-- $1 accounts and $2 users, in pairs; $3: the lease; $4: how long it lasts; $5: the TTL; $6: the
-- failures that end retries. A claim leases every participant of the user: a claimer whose snapshot
-- is too old to see another account's participant finds its own participant leased. Locks give the
-- newest participant, but the identity is that of the snapshot: a participant that has changed since
-- the snapshot is `stale`, to be claimed again. Otherwise a user who was fetched, and wrote, while
-- the claim waited for a lock would be fetched twice. `verdict`: taken, or why not.
WITH wanted AS (
    SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS w (ig_account_id, ig_user_id)
), held AS (
    SELECT p.ig_account_id, p.ig_user_id, p.due_at, p.forced, p.ctid AS version,
        instagram_is_leased(p.lease, p.due_at) AS is_leased,
        p.last_message_at >= now() - interval '30 days' AS is_recent
    FROM instagram_participants p WHERE p.ig_user_id = ANY ($2::text[])
    ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
), judged AS (
    SELECT h.ig_account_id, h.ig_user_id, COALESCE(k.access_token, '') AS access_token,
        instagram_login(k.login) AS login, h.is_recent,
        CASE WHEN is_fresh THEN COALESCE(c.source,
            CASE WHEN c.username IS NOT NULL OR c.name IS NOT NULL THEN 'profile' END)
        END AS fresh_source,
        CASE
            WHEN h.due_at IS NULL OR h.due_at > now() THEN 'not_due'
            WHEN EXISTS (SELECT FROM held o WHERE o.ig_user_id = h.ig_user_id AND o.is_leased)
                THEN 'in_flight'
            WHEN NOT h.forced AND is_fresh THEN 'fresh'
            WHEN NOT h.forced AND c.fail_count >= $6 THEN 'stopped'
            WHEN h.version IS DISTINCT FROM (SELECT p.ctid FROM instagram_participants p
                WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id)
                THEN 'stale'
            ELSE COALESCE(instagram_blocked_by(
                (SELECT reason FROM instagram_active_pauses WHERE scope = 'app'),
                k.ig_account_id, x.reason, k.token_status), 'taken')
        END AS verdict
    FROM wanted w JOIN held h USING (ig_account_id, ig_user_id)
    LEFT JOIN instagram_user_cache c ON c.ig_user_id = h.ig_user_id
    LEFT JOIN instagram_connections k ON k.ig_account_id = h.ig_account_id
    LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || h.ig_account_id
    CROSS JOIN LATERAL (
        SELECT instagram_is_fresh(c.last_fetched_at, c.expires_at, $5::interval) AS is_fresh
    ) AS f
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
    WHERE p.ig_user_id = ANY ($2::text[])
        AND p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id
        AND (t.ig_user_id IS NOT NULL OR j.verdict IN ('fresh', 'stopped'))
)
SELECT j.ig_account_id, j.ig_user_id, j.access_token, j.login, j.is_recent, j.fresh_source,
    CASE WHEN j.verdict = 'taken' AND t.ig_user_id IS NULL THEN 'in_flight' ELSE j.verdict END
    AS verdict
FROM judged j LEFT JOIN taken t USING (ig_account_id, ig_user_id);

-- name: read_due
-- $1: the account; $2: the user.
SELECT due_at FROM instagram_participants WHERE ig_account_id = $1 AND ig_user_id = $2;

-- name: release
-- $1: the user; $2: the lease; $3: how long the account $4 of the claim waits. The user's other
-- accounts do not wait.
WITH held AS (
    SELECT ig_account_id, ig_user_id FROM instagram_participants
    WHERE ig_user_id = $1 AND lease = $2 ORDER BY ig_account_id FOR UPDATE
)
UPDATE instagram_participants p SET lease = NULL,
    due_at = now() + CASE WHEN p.ig_account_id = $4 THEN $3 ELSE interval '0' END
FROM held h WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id;

-- name: renew
-- $1: the user; $2: the lease; $3: how long it lasts from now on.
WITH held AS (
    SELECT ig_account_id, ig_user_id FROM instagram_participants
    WHERE ig_user_id = $1 AND lease = $2 ORDER BY ig_account_id FOR UPDATE
)
UPDATE instagram_participants p SET due_at = now() + $3::interval
FROM held h WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id
RETURNING true;
