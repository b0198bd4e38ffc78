-- The life of tokens, and accounts that leave.

-- When each connection's token is next checked. Checks are claimed by moving due_at on; a token
-- that is not the one of token_sha256 is due at once. pending_token is a renewed token, encrypted,
-- that Meta has not accepted yet: it is kept so that no crash loses it.
CREATE TABLE IF NOT EXISTS instagram_token_checks (
    ig_account_id text PRIMARY KEY,
    due_at        timestamptz NOT NULL,
    token_sha256  text NOT NULL,
    pending_token text,
    error         text
);

-- Accounts that were removed together with their people, until all of those are erased. A replica
-- that erases holds the row until due_at.
CREATE TABLE IF NOT EXISTS instagram_leavings (
    ig_account_id text PRIMARY KEY,
    requested_at  timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL DEFAULT now(),
    erased        bigint NOT NULL DEFAULT 0
);

-- Work that one replica does for all, when it is due: by name.
CREATE TABLE IF NOT EXISTS instagram_chores (
    name   text PRIMARY KEY,
    due_at timestamptz NOT NULL
);
