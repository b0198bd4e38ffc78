-- Indexes for the list of people: by last message, and by prefixes of names. The index of an
-- account's latest participants gains the user, so that rows with the same time are read in steps.

-- An interrupted build leaves an index that is not valid.
SELECT format('DROP INDEX CONCURRENTLY %s', indexrelid::regclass) FROM pg_index
WHERE NOT indisvalid AND indexrelid IN (
    to_regclass('instagram_participants_latest'),
    to_regclass('instagram_participants_latest_of_account'),
    to_regclass('instagram_user_cache_username'),
    to_regclass('instagram_user_cache_name'))
\gexec

CREATE INDEX CONCURRENTLY IF NOT EXISTS instagram_participants_latest
    ON instagram_participants (last_message_at, ig_user_id, ig_account_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS instagram_participants_latest_of_account
    ON instagram_participants (ig_account_id, last_message_at, ig_user_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS instagram_user_cache_username
    ON instagram_user_cache (left(lower(username), 64) text_pattern_ops);

CREATE INDEX CONCURRENTLY IF NOT EXISTS instagram_user_cache_name
    ON instagram_user_cache (left(lower(name), 64) text_pattern_ops);

DROP INDEX CONCURRENTLY IF EXISTS instagram_participants_recent;
