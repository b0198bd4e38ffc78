-- The outbox of deliveries to forward.

-- Deliveries that wait to be posted to the forward addresses, one row per address. Empty unless
-- FORWARD_URLS is set. The body is encrypted. A row is deleted once its address answers 2xx.
CREATE TABLE IF NOT EXISTS instagram_forwards (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id  uuid NOT NULL,
    address      text NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    headers      jsonb NOT NULL,
    body         bytea NOT NULL,
    bytes        integer NOT NULL CHECK (bytes >= 0),
    only_user_id text, -- the user, if the delivery contains messages of one user only
    due_at       timestamptz NOT NULL DEFAULT now(),
    attempts     integer NOT NULL DEFAULT 0,
    lease        bigint,
    give_up_at   timestamptz NOT NULL,
    set_aside_at timestamptz,
    last_error   text
);
CREATE INDEX IF NOT EXISTS instagram_forwards_due
    ON instagram_forwards (address, due_at, id) WHERE set_aside_at IS NULL;
CREATE INDEX IF NOT EXISTS instagram_forwards_posting
    ON instagram_forwards (address) WHERE lease IS NOT NULL;
CREATE INDEX IF NOT EXISTS instagram_forwards_give_up
    ON instagram_forwards (give_up_at) WHERE set_aside_at IS NULL;
CREATE INDEX IF NOT EXISTS instagram_forwards_set_aside
    ON instagram_forwards (set_aside_at) WHERE set_aside_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS instagram_forwards_user
    ON instagram_forwards (only_user_id) WHERE only_user_id IS NOT NULL;
