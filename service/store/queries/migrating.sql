-- The statements of `migrate` besides the files in ../migrations.

-- name: take_turn
-- Takes the migration lock until the transaction ends. It is polled, since a waiting statement
-- holds a snapshot, for which CREATE INDEX CONCURRENTLY would wait.
SELECT pg_try_advisory_xact_lock(hashtext('instagram_migration'));

-- name: is_new
-- Whether there is no table or view with one of the names.
SELECT to_regclass('instagram_migrations') IS NULL
    AND to_regclass('instagram_user_cache') IS NULL
    AND to_regclass('instagram_connections') IS NULL
    AND to_regclass('instagram_participants') IS NULL;

-- name: create_list
CREATE TABLE IF NOT EXISTS instagram_migrations (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: list_applied
SELECT name FROM instagram_migrations;

-- name: record_applied
-- $1: the name of a migration.
INSERT INTO instagram_migrations (name) VALUES ($1) ON CONFLICT (name) DO NOTHING;

-- name: list_tokens
SELECT ig_account_id, access_token FROM instagram_connections WHERE access_token <> '';

-- name: replace_token
-- $1: the account; $2: the token as it was read; $3: the token to store.
UPDATE instagram_connections SET access_token = $3 WHERE ig_account_id = $1 AND access_token = $2;
