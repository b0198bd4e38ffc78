-- Connected accounts. Another application can write to this table too, so nulls and unknown values
-- are tolerated.

-- name: lock
-- Serializes changes of connections until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('instagram_connections'));

-- name: find_other_owner
-- $1: an account; $2: its ids. Finds another account that has one of the ids.
SELECT ig_account_id FROM instagram_connections
WHERE ig_account_id <> $1 AND (ig_account_id = ANY ($2::text[]) OR alias_ids && $2::text[])
LIMIT 1;

-- name: put
-- $1: the account; $2: its aliases; $3: the location; $4: the login; $5: the sealed token; $6:
-- whether Meta has accepted it; $7: the account's username, null if unknown. Resets what was
-- known about the old token.
INSERT INTO instagram_connections AS k
    (ig_account_id, alias_ids, location_id, login, access_token, token_status, token_checked_at,
        username)
VALUES ($1, $2, $3, $4, $5, 'active', CASE WHEN $6::boolean THEN now() END, $7::text)
ON CONFLICT (ig_account_id) DO UPDATE SET alias_ids = EXCLUDED.alias_ids,
    location_id = EXCLUDED.location_id, login = EXCLUDED.login,
    access_token = EXCLUDED.access_token, token_status = 'active', updated_at = now(),
    token_checked_at = EXCLUDED.token_checked_at, username = COALESCE(EXCLUDED.username, k.username),
    token_expires_at = NULL, data_access_expires_at = NULL, token_scopes = NULL;

-- name: exists
-- $1: the account.
SELECT true FROM instagram_connections WHERE ig_account_id = $1;

-- name: move_aliases
-- $1: an account; $2: its aliases. Moves the aliases' participants to the account.
WITH moved AS (
    DELETE FROM instagram_participants WHERE ig_account_id = ANY ($2::text[]) RETURNING *
)
INSERT INTO instagram_participants AS p
    (ig_account_id, ig_user_id, first_message_at, last_message_at, due_at, forced)
SELECT $1, ig_user_id, min(first_message_at), max(last_message_at), min(due_at), bool_or(forced)
FROM moved GROUP BY ig_user_id ORDER BY ig_user_id
ON CONFLICT (ig_account_id, ig_user_id) DO UPDATE SET
    first_message_at = LEAST(p.first_message_at, EXCLUDED.first_message_at),
    last_message_at = GREATEST(p.last_message_at, EXCLUDED.last_message_at),
    due_at = COALESCE(p.due_at, EXCLUDED.due_at), forced = p.forced OR EXCLUDED.forced;

-- name: list_all
-- $1: one account, null for all; $2: at most so many. last_named_at: when one of the latest five
-- who wrote got a name.
SELECT k.ig_account_id, array_remove(ARRAY(SELECT unnest(k.alias_ids)), NULL) AS alias_ids,
    COALESCE(k.location_id, '') AS location_id, instagram_login(k.login) AS login,
    CASE WHEN k.token_status = 'invalid' THEN 'invalid' ELSE 'active' END AS token_status,
    instagram_bounded(COALESCE(k.created_at, k.updated_at, to_timestamp(0))) AS created_at,
    instagram_bounded(COALESCE(k.updated_at, k.created_at, to_timestamp(0))) AS updated_at,
    instagram_bounded(x.until, '9999-12-31 23:59:59+00') AS paused_until,
    x.reason AS pause_reason, k.username,
    instagram_bounded(k.token_expires_at) AS token_expires_at,
    instagram_bounded(k.data_access_expires_at) AS data_access_expires_at,
    instagram_bounded(k.token_checked_at) AS token_checked_at,
    k.token_scopes AS scopes, instagram_is_plain(k.access_token) AS is_plain,
    (
        SELECT instagram_bounded(max(c.last_fetched_at)) FROM (
            SELECT p.ig_user_id FROM instagram_participants p
            WHERE p.ig_account_id = k.ig_account_id ORDER BY p.last_message_at DESC LIMIT 5
        ) AS latest JOIN instagram_user_cache c USING (ig_user_id)
    ) AS last_named_at
FROM instagram_connections k
LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || k.ig_account_id
WHERE $1::text IS NULL OR k.ig_account_id = $1
ORDER BY k.ig_account_id LIMIT $2::integer;

-- name: delete
-- $1: the account.
DELETE FROM instagram_connections WHERE ig_account_id = $1 RETURNING true;

-- name: read_directory
-- The ids of each account; includes the login if it is unknown.
SELECT ig_account_id, array_remove(ARRAY(SELECT unnest(alias_ids)), NULL) AS alias_ids,
    CASE WHEN login NOT IN ('facebook', 'instagram') THEN login END AS unknown_login
FROM instagram_connections;

-- name: mark_token_dead
-- $1: the account; $2: the token that Meta refuses, as it is stored.
UPDATE instagram_connections SET token_status = 'invalid', updated_at = now()
WHERE ig_account_id = $1 AND access_token = $2;

-- name: is_token_current
-- $1: the account; $2: a token as it was read.
SELECT true FROM instagram_connections WHERE ig_account_id = $1 AND access_token = $2 FOR UPDATE;

-- name: lift_pauses
-- $1: scopes. Ends the pauses that depend on the token.
WITH conversations AS (
    UPDATE instagram_conversation_limits SET paused_until = NULL, reason = NULL, strikes = 0
    WHERE 'account:' || ig_account_id = ANY ($1::text[]) AND reason <> 'throttled'
)
DELETE FROM instagram_pauses
WHERE scope = ANY ($1::text[])
    AND reason IN ('token_invalid', 'permission', 'no_connection', 'bad_request', 'outage');

-- name: lift_pause
-- $1: a scope.
DELETE FROM instagram_pauses WHERE scope = $1 RETURNING true;

-- name: lift_outdated_pauses
-- $1: one scope, null for all. Ends pauses that another application's change has outdated: it
-- connected the account, or replaced a dead token.
DELETE FROM instagram_pauses x
USING (
    SELECT 'account:' || own_id AS scope, token_status, updated_at
    FROM instagram_connections
    CROSS JOIN LATERAL unnest(ARRAY(SELECT unnest(alias_ids)) || ig_account_id) AS own_id
) AS k
WHERE x.scope = k.scope AND ($1::text IS NULL OR x.scope = $1) AND (x.reason = 'no_connection'
    OR (x.reason IN ('token_invalid', 'permission', 'bad_request', 'outage')
        AND k.updated_at > x.created_at
        AND k.token_status IS DISTINCT FROM 'invalid'));

-- name: list_plain_tokens
SELECT ig_account_id, access_token FROM instagram_connections
WHERE instagram_is_plain(access_token) AND access_token <> '';

-- name: change
-- $1: the account; $2: its aliases; $3: the location; null keeps the stored value.
-- updated_at stays, since it is the token's age.
UPDATE instagram_connections
SET alias_ids = COALESCE($2::text[], alias_ids), location_id = COALESCE($3::text, location_id)
WHERE ig_account_id = $1 RETURNING COALESCE(alias_ids, '{}') AS alias_ids;

-- name: revive
-- $1: the account. Marks its token as active, so that it is tried once more.
UPDATE instagram_connections SET token_status = 'active'
WHERE ig_account_id = $1 AND token_status = 'invalid';
