-- The sources of names, stored pictures, and the expiry of tokens.

ALTER TABLE instagram_user_cache ADD COLUMN IF NOT EXISTS source text;

DO $check$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('instagram_user_cache')
            AND conname = 'instagram_user_cache_source_check')
    THEN
        ALTER TABLE instagram_user_cache ADD CONSTRAINT instagram_user_cache_source_check
            CHECK (source IN ('profile', 'conversation')) NOT VALID;
    END IF;
END
$check$;

-- The bytes of the last good picture; `sha256` in lower-case hex.
CREATE TABLE IF NOT EXISTS instagram_pictures (
    ig_user_id   text PRIMARY KEY,
    sha256       text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    content_type text NOT NULL
        CHECK (content_type IN ('image/jpeg', 'image/png', 'image/webp', 'image/gif')),
    bytes        bytea NOT NULL CHECK (octet_length(bytes) BETWEEN 1 AND 1048576),
    copied_at    timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE instagram_pictures ALTER COLUMN bytes SET STORAGE EXTERNAL;  -- compressed already

-- Another application can share this table: unknown values are tolerated, not refused.
ALTER TABLE instagram_connections
    DROP CONSTRAINT IF EXISTS instagram_connections_login_check,
    DROP CONSTRAINT IF EXISTS instagram_connections_token_status_check,
    ADD COLUMN IF NOT EXISTS username text,
    ADD COLUMN IF NOT EXISTS token_expires_at timestamptz,
    ADD COLUMN IF NOT EXISTS data_access_expires_at timestamptz,
    ADD COLUMN IF NOT EXISTS token_checked_at timestamptz,
    ADD COLUMN IF NOT EXISTS token_scopes text[];
