-- The rules that statements share.

-- Each is one expression that PostgreSQL inlines. They take columns, not rows, so that no table
-- depends on them.

CREATE OR REPLACE FUNCTION instagram_is_fresh(
    last_fetched_at timestamptz, expires_at timestamptz, ttl interval
) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT last_fetched_at IS NOT NULL AND now() < COALESCE(expires_at,
        LEAST(last_fetched_at, timestamptz '9980-01-01 00:00+00') + ttl)
$$;

CREATE OR REPLACE FUNCTION instagram_lacks_consent(fail_count integer, last_error jsonb)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT COALESCE(fail_count > 0 AND last_error->>'reason' = 'consent_required', false)
$$;

-- waits: the wait after each failure in a row; the last one repeats.
CREATE OR REPLACE FUNCTION instagram_retry_at(
    last_failed_at timestamptz, fail_count integer, waits interval[]
) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN last_failed_at IS NULL THEN now()
        ELSE LEAST(last_failed_at, timestamptz '9980-01-01 00:00+00')
            + waits[LEAST(fail_count, cardinality(waits))] END
$$;

-- When a user is to be fetched; null if fresh or stopped.
CREATE OR REPLACE FUNCTION instagram_next_fetch(
    last_fetched_at timestamptz, expires_at timestamptz, fail_count integer,
    last_failed_at timestamptz, gave_consent boolean,
    ttl interval, max_failures integer, waits interval[]
) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN instagram_is_fresh(last_fetched_at, expires_at, ttl) THEN NULL
        WHEN COALESCE(fail_count, 0) = 0 OR gave_consent THEN now()
        WHEN fail_count >= max_failures THEN NULL
        ELSE instagram_retry_at(last_failed_at, fail_count, waits)
    END
$$;

-- Whether a worker holds the participant.
CREATE OR REPLACE FUNCTION instagram_is_leased(lease bigint, due_at timestamptz)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT lease IS NOT NULL AND due_at > now()
$$;

-- The pauses that block calls now; while a probe is in flight, all other calls wait.
CREATE OR REPLACE VIEW instagram_active_pauses AS
SELECT scope, reason, GREATEST(until, probing_until) AS until
FROM instagram_pauses
WHERE until > now() OR probing_until > now();

-- Why no call is allowed for a participant; null if one is. `connection_id` is the account of its
-- connection; the pauses are those of the app and of the account, null without one.
CREATE OR REPLACE FUNCTION instagram_blocked_by(
    app_pause text, connection_id text, account_pause text, token_status text
) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT COALESCE(app_pause, CASE WHEN connection_id IS NULL THEN 'no_connection' END,
        account_pause, CASE WHEN token_status = 'invalid' THEN 'token_invalid' END)
$$;
