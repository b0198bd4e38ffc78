-- Record whose failure caused a pause, so that another user or account makes the probe, and the
-- account of a user in a streak. A user who consents by writing waits 10 minutes from the last try.

ALTER TABLE instagram_pauses ADD COLUMN IF NOT EXISTS caused_by_account text;
ALTER TABLE instagram_pauses ADD COLUMN IF NOT EXISTS caused_by_user text;
ALTER TABLE instagram_streaks ADD COLUMN IF NOT EXISTS ig_account_id text;

-- When a user is to be fetched; null if fresh or stopped.
CREATE OR REPLACE FUNCTION instagram_next_fetch(
    last_fetched_at timestamptz, expires_at timestamptz, fail_count integer,
    last_failed_at timestamptz, gave_consent boolean,
    ttl interval, max_failures integer, waits interval[]
) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN instagram_is_fresh(last_fetched_at, expires_at, ttl) THEN NULL
        WHEN COALESCE(fail_count, 0) = 0 THEN now()
        WHEN gave_consent THEN LEAST(
            GREATEST(now(), instagram_bounded(last_failed_at) + interval '10 minutes'),
            CASE WHEN fail_count < max_failures
                THEN instagram_retry_at(last_failed_at, fail_count, waits) END)
        WHEN fail_count >= max_failures THEN NULL
        ELSE instagram_retry_at(last_failed_at, fail_count, waits)
    END
$$;
