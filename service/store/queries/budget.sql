-- Slots in the budget of Graph calls, shared by all replicas, subject to pauses.
-- $1: the interval between slots; $2: how far ahead a slot can be. A slot is a time of the server's
-- clock, so each answer includes the clock's time.

-- name: read_clock
SELECT EXTRACT(epoch FROM clock_timestamp())::float8 AS clock_s;

-- name: reserve
-- $3: the scope of the account; $4: how long a probe can take; $5: the caller is already the probe,
-- and repeats its call; $6: the user, empty for an operator's call. An expired pause allows a probe
-- only with a slot: if the budget is full, the next caller gets the probe. A probe goes to another
-- user, and for the app to another account, than the failure that caused the pause, if one is due;
-- shortly after the pause has expired, any user can probe.
WITH here AS (
    SELECT x.scope, x.reason, GREATEST(x.until, x.probing_until) AS until,
        x.until > now() OR (NOT $5::boolean AND (
            COALESCE(x.probing_until > now(), false)
            OR (x.until > now() - interval '15 seconds' AND $6 <> '' AND (
                (x.caused_by_user = $6 AND EXISTS (
                    SELECT FROM instagram_participants p
                    WHERE p.ig_account_id = substr($3, length('account:') + 1)
                        AND p.ig_user_id <> $6
                        AND (p.due_at <= now() OR instagram_is_leased(p.lease, p.due_at))))
                OR (x.scope = 'app' AND 'account:' || x.caused_by_account = $3 AND EXISTS (
                    SELECT FROM instagram_connections k
                    LEFT JOIN instagram_pauses y ON y.scope = 'account:' || k.ig_account_id
                    WHERE 'account:' || k.ig_account_id <> $3
                        AND k.token_status IS DISTINCT FROM 'invalid'
                        AND (y.until > now()) IS NOT TRUE AND EXISTS (
                            SELECT FROM instagram_participants p
                            WHERE p.ig_account_id = k.ig_account_id
                                AND (p.due_at <= now()
                                    OR instagram_is_leased(p.lease, p.due_at))))))))) AS is_paused
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
    ON CONFLICT (scope) DO UPDATE SET
        next_at = instagram_next_slot(b.next_at, $2::interval)
            + instagram_step($1::interval, b.pace, b.paced_until)
        WHERE instagram_has_room(b.next_at, $1::interval, $2::interval)
    RETURNING b.next_at - instagram_step($1::interval, b.pace, b.paced_until) AS at
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
    SELECT reason, scope FROM here WHERE is_paused ORDER BY until DESC LIMIT 1) AS h ON true;

-- name: reserve_together
-- $3: scopes of accounts. The same for several accounts, if neither the app nor the account has a
-- pause, active or expired.
WITH asked AS (
    SELECT a.nth, NOT EXISTS (
        SELECT FROM instagram_pauses x WHERE x.scope IN ('app', a.scope)) AS is_plain
    FROM unnest($3::text[]) WITH ORDINALITY AS a (scope, nth)
), budget AS (
    SELECT instagram_step($1::interval, b.pace, b.paced_until) AS step, b.next_at,
        CASE WHEN instagram_has_room(b.next_at, $1::interval, $2::interval)
            THEN instagram_next_slot(b.next_at, $2::interval) END AS first_at
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
ORDER BY a.nth;

-- name: set_pace
-- $1: the share of the rate; $2: for how long.
INSERT INTO instagram_budget (scope, next_at, pace, paced_until)
VALUES ('app', now(), $1, now() + $2::interval)
ON CONFLICT (scope) DO UPDATE SET pace = EXCLUDED.pace, paced_until = EXCLUDED.paced_until;

-- name: read_wait
SELECT GREATEST(EXTRACT(epoch FROM next_at - now()), 0)::float8 AS wait_s,
    CASE WHEN paced_until > now() THEN pace ELSE 1 END AS pace
FROM instagram_budget WHERE scope = 'app';
