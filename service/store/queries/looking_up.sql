-- Lookups of identities.

-- name: look_up
-- $1: users; $2: the TTL; $3: read `pause` and `unclear_reason` of fresh identities too. Rows have the order
-- of $1. `pause`: why no account of the user can be called; `unclear_reason`: a failure of unclear cause.
SELECT u.ig_user_id, c.username, c.name, c.profile_pic_url,
    instagram_bounded(c.last_fetched_at) AS last_fetched_at,
    instagram_bounded(c.expires_at) AS expires_at,
    COALESCE(c.fail_count, 0) AS fail_count, instagram_bounded(c.last_failed_at) AS last_failed_at,
    c.last_error->>'reason' AS last_reason, p.is_participant IS TRUE AS is_participant,
    p.is_scheduled IS TRUE AS is_scheduled, p.pause, p.unclear_reason, p.unclear_at, now() AS read_at,
    c.source, i.sha256 AS picture_sha256, instagram_bounded(i.copied_at) AS picture_copied_at
FROM unnest($1::text[]) WITH ORDINALITY AS u (ig_user_id, place)
LEFT JOIN instagram_user_cache c ON c.ig_user_id = u.ig_user_id
LEFT JOIN instagram_pictures i ON i.ig_user_id = c.ig_user_id
LEFT JOIN LATERAL (
    SELECT true AS is_participant, bool_or(due_at IS NOT NULL) AS is_scheduled,
        CASE WHEN bool_and(blocked IS NOT NULL)
            THEN (array_agg(blocked ORDER BY last_message_at DESC))[1] END AS pause,
        (array_agg(unclear_reason ORDER BY unclear_at DESC NULLS LAST))[1] AS unclear_reason,
        max(unclear_at) AS unclear_at
    FROM (
        SELECT p.due_at, p.last_message_at, s.error->>'reason' AS unclear_reason, s.failed_at AS unclear_at,
            instagram_blocked_by((SELECT reason FROM instagram_active_pauses WHERE scope = 'app'),
                k.ig_account_id, x.reason, k.token_status) AS blocked
        FROM instagram_participants p
        LEFT JOIN instagram_connections k ON k.ig_account_id = p.ig_account_id
        LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || p.ig_account_id
        LEFT JOIN instagram_streaks s
            ON s.scope = 'account:' || p.ig_account_id AND s.ig_user_id = p.ig_user_id
        WHERE p.ig_user_id = u.ig_user_id AND ($3::boolean
            OR NOT instagram_is_fresh(c.last_fetched_at, c.expires_at, $2::interval))
    ) AS of_user
    HAVING count(*) > 0
) AS p ON true
ORDER BY u.place;

-- name: schedule_stale
-- $1: users; $2: the TTL; $3: the failures that end retries; $4: the waits between failures. Makes
-- participants due whose identity is not fresh.
WITH held AS (
    SELECT p.ig_account_id, p.ig_user_id FROM instagram_participants p
    WHERE p.ig_user_id = ANY ($1::text[]) AND p.due_at IS NULL
    ORDER BY p.ig_user_id, p.ig_account_id FOR UPDATE
)
UPDATE instagram_participants p SET due_at = n.due_at
FROM (
    SELECT h.*, instagram_next_fetch(c.last_fetched_at, c.expires_at, c.fail_count,
        c.last_failed_at, false, $2::interval, $3::integer, $4::interval[]) AS due_at
    FROM held h LEFT JOIN instagram_user_cache c USING (ig_user_id)
) AS n
WHERE p.ig_account_id = n.ig_account_id AND p.ig_user_id = n.ig_user_id AND n.due_at IS NOT NULL
RETURNING p.ig_account_id, p.ig_user_id, p.due_at <= now() AS is_due;
