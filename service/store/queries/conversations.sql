-- Names from conversations, and the limits of conversation calls (instagram_conversation_limits).

-- name: take_slot
-- $1 the account, $2 the interval between its calls, $3 how far ahead a slot can be. No row:
-- paused, or all slots are taken.
INSERT INTO instagram_conversation_limits AS l (ig_account_id, next_at)
VALUES ($1, now() + $2::interval)
ON CONFLICT (ig_account_id) DO UPDATE
    SET next_at = LEAST(GREATEST(l.next_at, now()), now() + $3::interval) + $2::interval
    WHERE (l.paused_until IS NULL OR l.paused_until <= now())
        AND (l.next_at <= now() + $3::interval OR l.next_at > now() + 10 * $3::interval)
RETURNING EXTRACT(epoch FROM l.next_at - $2::interval - now())::float8 AS wait_s,
    l.strikes > 0 AS was_paused;

-- name: read_pause
-- $1 the account
SELECT reason FROM instagram_conversation_limits WHERE ig_account_id = $1 AND paused_until > now();

-- name: pause
-- $1 the account, $2 the reason, $3 the wait that Meta asks for or null, $4 the first wait, which
-- doubles each time, $5 the longest wait
INSERT INTO instagram_conversation_limits AS l
    (ig_account_id, next_at, paused_until, reason, strikes)
VALUES ($1, now(), now() + COALESCE($3::interval, $4::interval), $2, 1)
ON CONFLICT (ig_account_id) DO UPDATE SET reason = EXCLUDED.reason,
    strikes = CASE WHEN l.paused_until > now() THEN l.strikes ELSE l.strikes + 1 END,
    paused_until = GREATEST(CASE WHEN l.paused_until > now() THEN l.paused_until END,
        now() + COALESCE($3::interval,
            LEAST($4::interval * power(2, LEAST(l.strikes, 20)), $5::interval)))
RETURNING paused_until;

-- name: forget_strikes
-- $1 the account, whose call has succeeded
UPDATE instagram_conversation_limits SET strikes = 0, reason = NULL, paused_until = NULL
WHERE ig_account_id = $1 AND strikes > 0;

-- name: settle
-- $1 users, $2 accounts, $3 leases, $4 usernames, null to keep the stored one, $5 why the profile
-- was refused, $6 the TTL
WITH done AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
        AS d (ig_user_id, ig_account_id, lease, username, error)
), held AS (
    SELECT p.ig_account_id, p.ig_user_id, p.lease FROM instagram_participants p
    WHERE p.ig_user_id = ANY ($1::text[]) ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
), ours AS (
    SELECT DISTINCT ON (d.ig_user_id) d.* FROM done d WHERE EXISTS (
        SELECT FROM held h WHERE h.ig_user_id = d.ig_user_id AND h.lease = d.lease)
), cached AS (
    INSERT INTO instagram_user_cache AS c
        (ig_user_id, username, last_fetched_at, expires_at, last_error, source)
    SELECT ig_user_id, username, now(), now() + $6::interval, error::jsonb, 'conversation'
    FROM ours ORDER BY ig_user_id
    ON CONFLICT (ig_user_id) DO UPDATE SET fail_count = 0,
        username = COALESCE(EXCLUDED.username, c.username),
        last_fetched_at = EXCLUDED.last_fetched_at, expires_at = EXCLUDED.expires_at,
        last_error = EXCLUDED.last_error, source = EXCLUDED.source
), freed AS (
    UPDATE instagram_participants p SET due_at = NULL, lease = NULL, forced = false
    FROM ours o WHERE p.ig_user_id = ANY ($1::text[]) AND p.ig_user_id = o.ig_user_id
), unpaused AS (
    DELETE FROM instagram_pauses x USING ours o
    WHERE x.until <= now() AND x.scope IN ('app', 'account:' || o.ig_account_id)
), ended AS (
    DELETE FROM instagram_streaks s USING ours o
    WHERE s.scope IN ('app', 'accounts:outage', 'outage:' || o.ig_account_id)
        OR (s.scope = 'account:' || o.ig_account_id AND s.ig_user_id = o.ig_user_id)
)
SELECT ig_user_id FROM ours;

-- name: import
-- $1 users, $2 usernames, $3 the TTL. Names participants without a fresh profile, which stays due
-- for the name and the picture.
WITH told AS (
    SELECT DISTINCT ON (i.ig_user_id) i.* FROM unnest($1::text[], $2::text[])
        AS i (ig_user_id, username)
    WHERE EXISTS (SELECT FROM instagram_participants p WHERE p.ig_user_id = i.ig_user_id)
    ORDER BY i.ig_user_id
), held AS (
    SELECT p.ig_account_id, p.ig_user_id FROM instagram_participants p
    WHERE p.ig_user_id IN (SELECT ig_user_id FROM told)
    ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
), named AS (
    INSERT INTO instagram_user_cache AS c
        (ig_user_id, username, last_fetched_at, expires_at, source)
    SELECT ig_user_id, username, now(), now() + $3::interval, 'conversation'
    FROM told WHERE ig_user_id IN (SELECT ig_user_id FROM held) ORDER BY ig_user_id
    ON CONFLICT (ig_user_id) DO UPDATE SET fail_count = 0, username = EXCLUDED.username,
        last_fetched_at = EXCLUDED.last_fetched_at, expires_at = EXCLUDED.expires_at,
        source = EXCLUDED.source
    WHERE c.last_fetched_at IS NULL
        OR COALESCE(c.expires_at, c.last_fetched_at + $3::interval) <= now()
    RETURNING c.ig_user_id
), wanted AS (
    UPDATE instagram_participants p SET forced = true, due_at = COALESCE(p.due_at, now())
    FROM held h JOIN named n USING (ig_user_id)
    WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id
)
SELECT ig_user_id FROM named;
