-- Participants by last message, user and account, all descending. $1, $2, $3 are a place in that
-- order: rows after it are read. $4 is the earliest time of the last message.
-- Infinite times are limited to Python's range.

-- name: below
-- $5 at most so many
SELECT LEAST(p.last_message_at, timestamptz '9989-01-01 00:00+00') AS last_message_at,
    p.ig_user_id, p.ig_account_id,
    NOT EXISTS (
        SELECT FROM instagram_participants o WHERE o.ig_user_id = p.ig_user_id
            AND (o.last_message_at, o.ig_account_id) > (p.last_message_at, p.ig_account_id)
    ) AS is_latest
FROM (
    SELECT p.last_message_at, p.ig_user_id, p.ig_account_id FROM instagram_participants p
    WHERE (p.last_message_at, p.ig_user_id, p.ig_account_id) < ($1::timestamptz, $2::text, $3::text)
        AND p.last_message_at >= $4::timestamptz
    ORDER BY p.last_message_at DESC, p.ig_user_id DESC, p.ig_account_id DESC LIMIT $5::bigint
) AS p
ORDER BY p.last_message_at DESC, p.ig_user_id DESC, p.ig_account_id DESC;

-- name: of_accounts_below
-- $5 at most so many, $6 the accounts
SELECT LEAST(p.last_message_at, timestamptz '9989-01-01 00:00+00') AS last_message_at,
    p.ig_user_id, p.ig_account_id,
    NOT EXISTS (
        SELECT FROM instagram_participants o WHERE o.ig_user_id = p.ig_user_id
            AND o.ig_account_id = ANY ($6::text[])
            AND (o.last_message_at, o.ig_account_id) > (p.last_message_at, p.ig_account_id)
    ) AS is_latest
FROM (
    SELECT of_account.* FROM unnest($6::text[]) AS a (ig_account_id) CROSS JOIN LATERAL (
        SELECT p.last_message_at, p.ig_user_id, p.ig_account_id FROM instagram_participants p
        WHERE p.ig_account_id = a.ig_account_id
            AND (p.last_message_at, p.ig_user_id) <= ($1::timestamptz, $2::text)
            AND (p.last_message_at, p.ig_user_id, p.ig_account_id) < ($1, $2, $3::text)
            AND p.last_message_at >= $4::timestamptz
        ORDER BY p.last_message_at DESC, p.ig_user_id DESC LIMIT $5::bigint
    ) AS of_account
    ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT $5
) AS p
ORDER BY p.last_message_at DESC, p.ig_user_id DESC, p.ig_account_id DESC;

-- name: of_users_below
-- $5 the users, $6 the accounts or null for all
SELECT LEAST(p.last_message_at, timestamptz '9989-01-01 00:00+00') AS last_message_at,
    p.ig_user_id, p.ig_account_id
FROM unnest($5::text[]) AS u (ig_user_id) CROSS JOIN LATERAL (
    SELECT p.last_message_at, p.ig_user_id, p.ig_account_id FROM instagram_participants p
    WHERE p.ig_user_id = u.ig_user_id
        AND ($6::text[] IS NULL OR p.ig_account_id = ANY ($6::text[]))
    ORDER BY p.last_message_at DESC, p.ig_account_id DESC LIMIT 1
) AS p
WHERE (p.last_message_at, p.ig_user_id, p.ig_account_id) < ($1::timestamptz, $2::text, $3::text)
    AND p.last_message_at >= $4::timestamptz
ORDER BY p.last_message_at DESC, p.ig_user_id DESC, p.ig_account_id DESC;

-- name: begin_with
-- Users whose username, name or id begins with $1. The operators compare bytes, as the indexes do;
-- LIKE would need a pattern that the planner knows. $2 the last character there is, $3 at most so
-- many of each kind, $4 names too, $5 ids too, $6 digits that sort after every id
(
    SELECT c.ig_user_id FROM instagram_user_cache c
    WHERE left(lower(c.username), 64) ~>=~ lower($1::text)
        AND left(lower(c.username), 64) ~<~ (lower($1::text) || $2::text)
    LIMIT $3::bigint
) UNION (
    SELECT c.ig_user_id FROM instagram_user_cache c
    WHERE $4::boolean AND left(lower(c.name), 64) ~>=~ lower($1::text)
        AND left(lower(c.name), 64) ~<~ (lower($1::text) || $2::text)
    LIMIT $3
) UNION (
    SELECT DISTINCT p.ig_user_id FROM instagram_participants p
    WHERE $5::boolean AND p.ig_user_id >= $1::text AND p.ig_user_id <= ($1::text || $6::text)
    LIMIT $3
);

-- name: written_to
-- $1 users, $2 at most so many accounts each, $3 a time that means never
SELECT u.ig_user_id, p.ig_account_id, k.location_id,
    LEAST(p.last_message_at, timestamptz '9989-01-01 00:00+00') AS last_message_at,
    CASE WHEN k.token_status = 'active' AND p.due_at > '-infinity'
        THEN LEAST(GREATEST(p.due_at, held.until), $3::timestamptz) END AS next_attempt_at
FROM unnest($1::text[]) AS u (ig_user_id) CROSS JOIN LATERAL (
    SELECT * FROM instagram_participants p WHERE p.ig_user_id = u.ig_user_id
    ORDER BY p.last_message_at DESC LIMIT $2::bigint
) AS p
LEFT JOIN instagram_connections k ON k.ig_account_id = p.ig_account_id
LEFT JOIN LATERAL (
    SELECT max(GREATEST(x.until, x.probing_until)) AS until FROM instagram_pauses x
    WHERE x.scope IN ('app', 'account:' || p.ig_account_id)
        AND GREATEST(x.until, x.probing_until) > now()
) AS held ON true
ORDER BY p.last_message_at DESC;

-- name: accounts_of_location
SELECT ig_account_id FROM instagram_connections WHERE location_id = $1::text;

-- name: last_errors
-- $1 users. Returns the last error of each.
SELECT c.ig_user_id, c.last_error::text AS last_error
FROM instagram_user_cache c WHERE c.ig_user_id = ANY ($1::text[]) AND c.last_error IS NOT NULL;
