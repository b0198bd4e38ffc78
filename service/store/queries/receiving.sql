-- Stores participants.

-- name: journal
-- $1 accounts, $2 users, $3 first and $4 last times, $5 whether the user wrote: one row a
-- participant; $6: the TTL; $7: the failures that end retries; $8: the waits between failures.
-- Returns whether each is due, and until when the user's identity is fresh.
WITH incoming AS (
    SELECT i.*, instagram_next_fetch(c.last_fetched_at, c.expires_at, c.fail_count, c.last_failed_at,
            gave.consent, $6::interval, $7::integer, $8::interval[]) AS due_at,
        gave.consent AND NOT is_fresh AS forced, COALESCE(c.fail_count, 0) AS fail_count,
        CASE WHEN is_fresh THEN instagram_bounded(COALESCE(c.expires_at,
            LEAST(c.last_fetched_at, timestamptz '9980-01-01 00:00+00') + $6::interval))
        END AS fresh_until
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::boolean[])
        AS i (ig_account_id, ig_user_id, first_at, last_at, wrote)
    LEFT JOIN instagram_user_cache c USING (ig_user_id)
    CROSS JOIN LATERAL (SELECT i.wrote AND instagram_lacks_consent(c.fail_count, c.last_error)
        AS consent, instagram_is_fresh(c.last_fetched_at, c.expires_at, $6::interval) AS is_fresh
    ) AS gave
), journalled AS (
    INSERT INTO instagram_participants AS p
        (ig_account_id, ig_user_id, first_message_at, last_message_at, due_at, forced)
    SELECT ig_account_id, ig_user_id, LEAST(first_at, now()), LEAST(last_at, now()), due_at, forced
    FROM incoming ORDER BY ig_user_id, ig_account_id
    ON CONFLICT (ig_account_id, ig_user_id) DO UPDATE SET
        first_message_at = LEAST(
            GREATEST(p.first_message_at, timestamptz 'epoch'), EXCLUDED.first_message_at),
        last_message_at = LEAST(GREATEST(p.last_message_at, EXCLUDED.last_message_at), now()),
        forced = p.forced
            OR (EXCLUDED.forced AND instagram_is_leased(p.lease, p.due_at) IS NOT TRUE),
        due_at = CASE WHEN EXCLUDED.forced AND instagram_is_leased(p.lease, p.due_at) IS NOT TRUE
            THEN LEAST(p.due_at, EXCLUDED.due_at) ELSE COALESCE(p.due_at, EXCLUDED.due_at) END
    RETURNING p.ig_account_id, p.ig_user_id, p.last_message_at, p.due_at, p.lease
)
SELECT j.ig_account_id, j.ig_user_id, j.last_message_at, i.fresh_until,
    j.due_at IS NOT NULL AND i.fail_count = 0 AS is_scheduled,
    COALESCE(j.due_at <= now(), false) AS is_due
FROM journalled j JOIN incoming i USING (ig_account_id, ig_user_id);
