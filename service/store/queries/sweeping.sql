-- Users who are due, of accounts that can be called.

-- name: find_due
-- $1: at most per account; $2: at most in total; $3: due for at least this long. The accounts have
-- no order, so that none is always last.
SELECT d.ig_account_id, d.ig_user_id
FROM (
    SELECT k.ig_account_id FROM instagram_connections k
    LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || k.ig_account_id
    WHERE x.scope IS NULL AND k.token_status IS DISTINCT FROM 'invalid'
        AND NOT EXISTS (SELECT FROM instagram_active_pauses WHERE scope = 'app')
    ORDER BY random()
) AS a
CROSS JOIN LATERAL (
    SELECT p.ig_account_id, p.ig_user_id FROM instagram_participants p
    WHERE p.ig_account_id = a.ig_account_id AND p.due_at <= now() - $3::interval
    ORDER BY p.due_at LIMIT $1
) AS d
LIMIT $2;
