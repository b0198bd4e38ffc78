-- Token checks, and accounts that leave.

-- The checks of the connections' tokens. due_at: not before then; a check is claimed by moving it
-- on. is_new: the token of token_sha256 has not been checked yet. pending_token is a renewed token,
-- encrypted, that Meta has not accepted yet: it is kept so that no crash loses it.
CREATE TABLE IF NOT EXISTS instagram_token_checks (
    ig_account_id text PRIMARY KEY,
    due_at        timestamptz NOT NULL,
    token_sha256  text NOT NULL,
    is_new        boolean NOT NULL DEFAULT true,
    pending_token text,
    error         text
);

-- Accounts that were removed together with their people, until all people are erased. The replica
-- that erases them holds the row until due_at.
CREATE TABLE IF NOT EXISTS instagram_leavings (
    ig_account_id text PRIMARY KEY,
    requested_at  timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL DEFAULT now(),
    erased        bigint NOT NULL DEFAULT 0
);

-- Recurring work that one replica does for all: its name, and when it is due.
CREATE TABLE IF NOT EXISTS instagram_chores (
    name   text PRIMARY KEY,
    due_at timestamptz NOT NULL
);
