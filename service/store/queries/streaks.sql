-- Streaks: unclear failures of several users in a row. All statements run under one lock.

-- name: lock
-- Takes the lock until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('instagram_streaks'));

-- name: lock_lease
-- $1: the user; $2: the lease. Whether the claim still holds, locked.
SELECT count(*) > 0 FROM (
    SELECT FROM instagram_participants WHERE ig_user_id = $1 AND lease = $2
    ORDER BY ig_account_id FOR UPDATE
) AS held;

-- name: read_prior_failure
-- $1: the user.
SELECT fail_count, instagram_bounded(last_failed_at) AS last_failed_at, last_error
FROM instagram_user_cache WHERE ig_user_id = $1;

-- name: add
-- $1: the scope; $2: the user; $3: the account; $4: the error; $5, $6, $7: what the user was
-- charged before. `length`: how many users have failed in a row for this reason.
INSERT INTO instagram_streaks AS s (scope, ig_user_id, ig_account_id, error,
    prior_fail_count, prior_last_failed_at, prior_last_error)
VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7::jsonb)
ON CONFLICT (scope, ig_user_id) DO UPDATE SET ig_account_id = EXCLUDED.ig_account_id,
    error = EXCLUDED.error, tries = s.tries + 1, failed_at = EXCLUDED.failed_at
RETURNING tries, (SELECT count(*) FROM instagram_streaks o
    WHERE o.scope = $1 AND o.ig_user_id <> $2
        AND o.error->>'reason' = $4::jsonb->>'reason') + 1 AS length;

-- name: measure
-- $1: the scope.
SELECT count(*) AS users, count(DISTINCT ig_account_id) AS accounts
FROM instagram_streaks WHERE scope = $1;

-- name: forget_account
-- $1: the account; $2: scopes, besides those that compare accounts.
DELETE FROM instagram_streaks
WHERE (scope LIKE 'accounts:%' OR scope = ANY ($2::text[])) AND ig_account_id = $1;

-- name: forget_outages
DELETE FROM instagram_streaks WHERE scope LIKE 'outage:%';

-- name: is_other_account_active
-- $1: an account. Whether another callable account has users who wrote recently or are due.
SELECT EXISTS (
    SELECT FROM instagram_connections k
    LEFT JOIN instagram_active_pauses x ON x.scope = 'account:' || k.ig_account_id
    WHERE k.ig_account_id <> $1 AND k.token_status IS DISTINCT FROM 'invalid' AND x.scope IS NULL
        AND EXISTS (
            SELECT FROM instagram_participants p WHERE p.ig_account_id = k.ig_account_id
                AND (p.last_message_at > now() - interval '1 hour' OR p.due_at <= now())));

-- name: end_streak
-- $1: the scope.
DELETE FROM instagram_streaks WHERE scope = $1
RETURNING ig_user_id, failed_at, prior_fail_count, prior_last_failed_at, prior_last_error;

-- name: refund
-- $1: the user; $2: when it failed; $3, $4, $5: the previous failures. A user whose
-- retries had ended, or who was forced, becomes due.
WITH refunded AS (
    UPDATE instagram_user_cache SET fail_count = $3, last_failed_at = $4, last_error = $5::jsonb
    WHERE ig_user_id = $1 AND last_failed_at = $2 RETURNING true
)
UPDATE instagram_participants SET due_at = now(), forced = forced OR EXISTS (SELECT FROM refunded)
WHERE ig_user_id = $1 AND lease IS NULL
    AND (due_at IS NOT NULL OR EXISTS (SELECT FROM refunded));

-- name: make_due
-- $1: the account; $2: users.
UPDATE instagram_participants SET due_at = now()
WHERE ig_account_id = $1 AND ig_user_id = ANY ($2::text[]) AND lease IS NULL;
