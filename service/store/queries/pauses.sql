-- Pauses of the app and of accounts.

-- name: pause
-- $1: the scope; $2: the reason; $3: the wait that Meta asks for, else null; $4: the first wait;
-- $5: the longest wait; $6, $7: the account and the user whose failure caused it (an erased user is
-- not named). An active pause is extended only by Meta's wait: calls in flight together are one
-- strike.
INSERT INTO instagram_pauses AS x (scope, reason, until, caused_by_account, caused_by_user)
VALUES ($1, $2, now() + COALESCE($3::interval, $4::interval), $6, (
    SELECT p.ig_user_id FROM instagram_participants p WHERE p.ig_user_id = $7 LIMIT 1))
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
RETURNING until;

-- name: pause_until_changed
-- $1: the scope; $2: the reason. Pauses until the connection changes.
INSERT INTO instagram_pauses AS x (scope, reason, until) VALUES ($1, $2, 'infinity')
ON CONFLICT (scope) DO UPDATE SET
    reason = EXCLUDED.reason, until = EXCLUDED.until, probing_until = NULL, created_at = now();

-- name: read_reason
-- $1: the scope. Includes an expired pause that waits for a success.
SELECT reason FROM instagram_pauses WHERE scope = $1;

-- name: list_active
-- $1: at most so many; the app's first.
SELECT scope, instagram_bounded(until, '9999-12-31 23:59:59+00') AS until, reason,
    CASE WHEN isfinite(until) THEN EXTRACT(epoch FROM until - now()) ELSE 1e9 END::float8 AS left_s
FROM instagram_active_pauses ORDER BY scope <> 'app', scope LIMIT $1;
