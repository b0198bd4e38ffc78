-- The connections' access tokens. Times are from the caller's clock ($now), so that a year can be
-- simulated.

-- name: notice_new
-- $1 now, $2 how soon a new token is checked. Schedules tokens that were not checked before.
INSERT INTO instagram_token_checks AS c (ig_account_id, due_at, token_sha256)
SELECT ig_account_id, $1::timestamptz + $2::interval,
    encode(sha256(convert_to(access_token, 'UTF8')), 'hex')
FROM instagram_connections WHERE access_token IS NOT NULL
ON CONFLICT (ig_account_id) DO UPDATE SET
    due_at = EXCLUDED.due_at, token_sha256 = EXCLUDED.token_sha256, is_new = true
WHERE c.token_sha256 <> EXCLUDED.token_sha256;

-- name: claim
-- $1 now, $2 how long the check can take. Claims the check that is due first: a token is due if it
-- is new, was never checked, or was checked a day ago (up to a tenth earlier, to spread checks).
WITH due AS (
    SELECT c.ig_account_id FROM instagram_token_checks c
    JOIN instagram_connections k USING (ig_account_id)
    WHERE k.token_status IS DISTINCT FROM 'invalid' AND c.due_at <= $1::timestamptz
        AND (c.is_new OR k.token_checked_at IS NULL OR k.token_checked_at <= $1::timestamptz
            - interval '1 day' * (0.9 + (hashtext(c.ig_account_id) & 1023) / 10240.0))
    ORDER BY c.due_at LIMIT 1 FOR UPDATE OF c SKIP LOCKED
), claimed AS (
    UPDATE instagram_token_checks c SET due_at = $1::timestamptz + $2::interval
    FROM due d WHERE c.ig_account_id = d.ig_account_id
    RETURNING c.ig_account_id, c.pending_token
)
SELECT k.ig_account_id, COALESCE(k.location_id, '') AS location_id,
    instagram_login(k.login) AS login, k.access_token AS stored,
    instagram_is_plain(k.access_token) AS is_plain,
    instagram_bounded(COALESCE(k.updated_at, to_timestamp(0))) AS stored_at, k.username,
    instagram_bounded(k.token_expires_at) AS expires_at, c.pending_token AS pending
FROM claimed c JOIN instagram_connections k USING (ig_account_id);

-- name: postpone
-- $1 the account, $2 not due before, $3 what went wrong or null
UPDATE instagram_token_checks SET due_at = $2::timestamptz, error = $3::text
WHERE ig_account_id = $1::text;

-- name: finish
-- $1 the account, whose token was checked, $2 now
UPDATE instagram_token_checks SET due_at = $2::timestamptz, error = NULL, is_new = false
WHERE ig_account_id = $1::text;

-- name: record
-- $1 the account, $2 the stored token, $3 now, $4 username or null, $5 the token's end, $6 the end
-- of data access, $7 scopes or null
UPDATE instagram_connections SET
    username = COALESCE($4::text, username), token_expires_at = $5::timestamptz,
    data_access_expires_at = $6::timestamptz, token_checked_at = $3::timestamptz,
    token_scopes = $7::text[]
WHERE ig_account_id = $1::text AND access_token = $2::text
RETURNING true;

-- name: keep_pending
-- $1 the account, $2 the renewed token, encrypted
UPDATE instagram_token_checks SET pending_token = $2::text WHERE ig_account_id = $1::text
RETURNING true;

-- name: drop_pending
-- $1 the account
UPDATE instagram_token_checks SET pending_token = NULL WHERE ig_account_id = $1::text;

-- name: store_renewed
-- $1 the account, $2 the stored token, $3 the renewed one, encrypted, $4 its end, $5 now
UPDATE instagram_connections SET
    access_token = $3::text, token_expires_at = $4::timestamptz, updated_at = $5::timestamptz,
    token_checked_at = $5::timestamptz, token_status = 'active'
WHERE ig_account_id = $1::text AND access_token = $2::text
RETURNING true;

-- name: note_renewed
-- $1 the account, $2 the renewed token, encrypted, which counts as checked
UPDATE instagram_token_checks SET
    pending_token = NULL, token_sha256 = encode(sha256(convert_to($2::text, 'UTF8')), 'hex')
WHERE ig_account_id = $1::text;

-- name: list_states
-- $1 at most so many, $2 the location or null for all. The earliest end comes first.
SELECT k.ig_account_id, COALESCE(k.location_id, '') AS location_id,
    instagram_login(k.login) AS login, instagram_is_plain(COALESCE(k.access_token, '')) AS is_plain,
    k.token_status = 'invalid' IS TRUE AS is_dead, k.username,
    instagram_bounded(COALESCE(k.updated_at, to_timestamp(0))) AS stored_at,
    instagram_bounded(k.token_expires_at) AS expires_at,
    instagram_bounded(k.data_access_expires_at) AS data_access_expires_at,
    instagram_bounded(k.token_checked_at) AS checked_at, CASE WHEN k.token_scopes IS NOT NULL
        THEN array_remove(ARRAY(SELECT unnest(k.token_scopes)), NULL) END AS scopes,
    c.error AS check_error
FROM instagram_connections k LEFT JOIN instagram_token_checks c USING (ig_account_id)
WHERE $2::text IS NULL OR k.location_id = $2::text
ORDER BY k.token_status <> 'invalid',
    LEAST(k.token_expires_at, k.data_access_expires_at) NULLS LAST, k.ig_account_id
LIMIT $1::integer;

-- name: forget_removed
DELETE FROM instagram_token_checks c
WHERE NOT EXISTS (SELECT FROM instagram_connections k WHERE k.ig_account_id = c.ig_account_id);
