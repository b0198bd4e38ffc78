-- The limits of conversation calls per account: 2 a second over all replicas, and a separate pause
-- that does not affect profile calls.

CREATE TABLE IF NOT EXISTS instagram_conversation_limits (
    ig_account_id text PRIMARY KEY,
    next_at       timestamptz NOT NULL,
    paused_until  timestamptz,
    reason        text,
    strikes       integer NOT NULL DEFAULT 0 CHECK (strikes >= 0)
) WITH (fillfactor = 50);
