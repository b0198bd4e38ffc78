-- The complete schema of a new database. `python -m service migrate` applies it to a database that
-- has none of these tables, and upgrades any other database with the numbered files in
-- service/store/migrations. Every change here needs such a file, and a line in the list below.

-- 1. Which migrations this file contains ----------------------------------------------------------

CREATE TABLE IF NOT EXISTS instagram_migrations (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO instagram_migrations (name)
SELECT contained.name
FROM (VALUES
    ('0001_adopt'),
    ('0002_sources_pictures_tokens'),
    ('0003_rules'),
    ('0004_indexes'),
    ('0005_forwards'),
    ('0006_list_people'),
    ('0007_shared_connections'),
    ('0008_pictures'),
    ('0009_blame'),
    ('0010_token_life'),
    ('0011_conversations'),
    ('0012_budget_rules'),
    ('0013_no_pauses_of_strangers'),
    ('0014_pictures_of_others')
) AS contained (name)
WHERE to_regclass('instagram_user_cache') IS NULL
    AND to_regclass('instagram_connections') IS NULL
    AND to_regclass('instagram_participants') IS NULL
ON CONFLICT (name) DO NOTHING;

-- 2. Identities of users --------------------------------------------------------------------------

-- source: the origin of the current names; null while there are none.
CREATE TABLE IF NOT EXISTS instagram_user_cache (
    ig_user_id      text PRIMARY KEY,
    username        text,
    name            text,
    profile_pic_url text,
    last_fetched_at timestamptz,
    fail_count      integer NOT NULL DEFAULT 0,
    last_failed_at  timestamptz,
    raw             jsonb,
    expires_at      timestamptz,
    last_error      jsonb,
    source          text,
    CONSTRAINT instagram_user_cache_fail_count_check CHECK (fail_count >= 0),
    CONSTRAINT instagram_user_cache_source_check CHECK (source IN ('profile', 'conversation'))
);

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

-- 3. Connected accounts ---------------------------------------------------------------------------

-- Another application can share this table, so the values of `login` and `token_status` are not
-- checked: an unknown login is read as facebook, and only a token marked invalid is dead.
CREATE TABLE IF NOT EXISTS instagram_connections (
    ig_account_id          text PRIMARY KEY,
    alias_ids              text[] NOT NULL DEFAULT '{}',
    location_id            text NOT NULL,
    login                  text NOT NULL DEFAULT 'facebook',
    access_token           text NOT NULL,
    token_status           text NOT NULL DEFAULT 'active',
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    username               text,
    token_expires_at       timestamptz,
    data_access_expires_at timestamptz,
    token_checked_at       timestamptz,
    token_scopes           text[]
);

-- The checks of the connections' tokens. A check is claimed by increasing due_at. is_new: the token
-- of token_sha256 has not been checked yet. pending_token is a renewed, encrypted token that Meta has
-- not accepted yet, stored so that a crash does not lose it.
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

-- 4. Participants, and when each is due for a fetch -----------------------------------------------

-- due_at: when the user next needs a fetch; null when fresh or stopped. While a worker holds the
-- row, `lease` is the number of its claim and due_at is when the claim lapses.
-- forced: fetch even if the identity is fresh or retries have ended (refresh, backfill, consent).
CREATE TABLE IF NOT EXISTS instagram_participants (
    ig_account_id    text NOT NULL CHECK (ig_account_id ~ '^[0-9]{1,32}$'),
    ig_user_id       text NOT NULL CHECK (ig_user_id ~ '^[0-9]{1,32}$'),
    first_message_at timestamptz NOT NULL DEFAULT now(),
    last_message_at  timestamptz NOT NULL DEFAULT now(),
    due_at           timestamptz DEFAULT now(),
    lease            bigint,
    forced           boolean NOT NULL DEFAULT false,
    PRIMARY KEY (ig_account_id, ig_user_id)
);

-- 5. Pauses and limits ----------------------------------------------------------------------------

-- An expired pause stays until a call succeeds: `probing_until` lets one call, the probe, through at
-- a time, and `strikes` lengthens the next pause of the same reason. The probe uses another user, or
-- another account, than the failure that caused the pause, if one is due.
CREATE TABLE IF NOT EXISTS instagram_pauses (
    scope         text PRIMARY KEY,
    until         timestamptz NOT NULL,
    reason        text NOT NULL,
    strikes       integer NOT NULL DEFAULT 1,
    probing_until timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    caused_by_account text,
    caused_by_user    text
);

-- The call budget of all replicas: a GCRA row. The table is logged, since losing the row in a crash
-- would allow the budget twice. `pace` is the share of the rate that Meta's usage headers allow.
CREATE TABLE IF NOT EXISTS instagram_budget (
    scope       text PRIMARY KEY,
    next_at     timestamptz NOT NULL,
    pace        double precision NOT NULL DEFAULT 1 CHECK (pace > 0 AND pace <= 1),
    paced_until timestamptz
) WITH (fillfactor = 50);

-- Streaks: users in a row whose calls failed for an unclear cause, by scope. `app` and
-- `outage:<account>`: upstream failures, of which five are an outage; `account:<id>`: missing
-- permissions and bad requests, of which two pause the account; `accounts:<reason>`: accounts paused
-- that way, of which two without a success in between pause the app.
CREATE TABLE IF NOT EXISTS instagram_streaks (
    scope                text NOT NULL,
    ig_user_id           text NOT NULL,
    error                jsonb NOT NULL,
    tries                integer NOT NULL DEFAULT 1,
    failed_at            timestamptz NOT NULL DEFAULT now(),
    prior_fail_count     integer NOT NULL DEFAULT 0,
    prior_last_failed_at timestamptz,
    prior_last_error     jsonb,
    ig_account_id        text,
    PRIMARY KEY (scope, ig_user_id)
);

-- The limits of conversation calls per account: 2 a second over all replicas, and a separate pause
-- that does not affect profile calls.
CREATE TABLE IF NOT EXISTS instagram_conversation_limits (
    ig_account_id text PRIMARY KEY,
    next_at       timestamptz NOT NULL,
    paused_until  timestamptz,
    reason        text,
    strikes       integer NOT NULL DEFAULT 0 CHECK (strikes >= 0)
) WITH (fillfactor = 50);

-- 6. Deliveries to forward ------------------------------------------------------------------------

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

-- 7. Indexes --------------------------------------------------------------------------------------

CREATE INDEX IF NOT EXISTS instagram_connections_location ON instagram_connections (location_id);
CREATE INDEX IF NOT EXISTS instagram_participants_user ON instagram_participants (ig_user_id);
CREATE INDEX IF NOT EXISTS instagram_participants_due
    ON instagram_participants (ig_account_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS instagram_participants_latest
    ON instagram_participants (last_message_at, ig_user_id, ig_account_id);
CREATE INDEX IF NOT EXISTS instagram_participants_latest_of_account
    ON instagram_participants (ig_account_id, last_message_at, ig_user_id);
CREATE INDEX IF NOT EXISTS instagram_user_cache_username
    ON instagram_user_cache (left(lower(username), 64) text_pattern_ops);
CREATE INDEX IF NOT EXISTS instagram_user_cache_name
    ON instagram_user_cache (left(lower(name), 64) text_pattern_ops);

-- 8. Rules, as in service/model/freshness.py --------------------------------------------------

-- Each is one expression that PostgreSQL inlines. They take columns, not rows, so that no table
-- depends on them.

-- Limit a time to Python's range; by default with room for a TTL.
CREATE OR REPLACE FUNCTION instagram_bounded(
    moment timestamptz, latest timestamptz DEFAULT '9980-01-01 00:00+00'
) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN moment IS NOT NULL
        THEN LEAST(GREATEST(moment, timestamptz '0002-01-01 00:00+00'), latest) END
$$;

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
        WHEN COALESCE(fail_count, 0) = 0 THEN now()
        WHEN gave_consent THEN LEAST(
            GREATEST(now(), instagram_bounded(last_failed_at) + interval '10 minutes'),
            CASE WHEN fail_count < max_failures
                THEN instagram_retry_at(last_failed_at, fail_count, waits) END)
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

-- The rules of the budget, a GCRA row: a slot is a time, and the next one is one step later.

-- The length of a slot: longer while Meta's usage headers allow only a share of the rate.
CREATE OR REPLACE FUNCTION instagram_step(
    interval_at_full_rate interval, pace double precision, paced_until timestamptz
) RETURNS interval LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT interval_at_full_rate / CASE WHEN paced_until > now() THEN pace ELSE 1 END
$$;

-- Whether another slot begins within `ahead`. A next slot too far ahead dates from before the
-- server's clock was set back.
CREATE OR REPLACE FUNCTION instagram_has_room(
    next_at timestamptz, interval_at_full_rate interval, ahead interval
) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT next_at <= now() + ahead OR next_at > now() + 2 * ahead + interval_at_full_rate * 1000
$$;

CREATE OR REPLACE FUNCTION instagram_next_slot(next_at timestamptz, ahead interval)
RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT LEAST(GREATEST(next_at, now()), now() + ahead)
$$;

-- An unknown login is read as facebook.
CREATE OR REPLACE FUNCTION instagram_login(login text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN login = 'instagram' THEN 'instagram' ELSE 'facebook' END
$$;

-- Whether a token is stored unencrypted.
CREATE OR REPLACE FUNCTION instagram_is_plain(access_token text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT COALESCE(access_token NOT LIKE 'v1.%', false)
$$;

-- 9. Notices to every replica about changed rows, including changes made by hand -------------------

CREATE OR REPLACE FUNCTION instagram_notify_identities() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('instagram_identities', '*');
        RETURN NULL;
    END IF;
    -- a line a user: the id, and until when the identity is fresh in Unix seconds (0: not known)
    PERFORM pg_notify('instagram_identities', string_agg(line, E'\n'))
    FROM (
        SELECT (row_number() OVER () - 1) / 100 AS page,
            left(ig_user_id, 32) || ' ' || CASE
                WHEN TG_OP <> 'DELETE' AND last_fetched_at IS NOT NULL AND isfinite(expires_at)
                THEN floor(extract(epoch FROM expires_at))::bigint ELSE 0 END AS line
        FROM changed
    ) AS lines
    GROUP BY page;
    RETURN NULL;
END
$body$;

CREATE OR REPLACE FUNCTION instagram_notify_gone() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('instagram_gone', '*');
        RETURN NULL;
    END IF;
    PERFORM pg_notify('instagram_gone', string_agg(ig_user_id, E'\n'))
    FROM (SELECT (row_number() OVER () - 1) / 200 AS page, ig_user_id FROM changed) AS lines
    GROUP BY page;
    RETURN NULL;
END
$body$;

CREATE OR REPLACE FUNCTION instagram_notify_change() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify(TG_TABLE_NAME, '');
        RETURN NULL;
    END IF;
    -- a statement that touched no row, such as every slot in the budget, is no news
    PERFORM pg_notify(TG_TABLE_NAME, '') WHERE EXISTS (SELECT FROM changed);
    RETURN NULL;
END
$body$;

CREATE OR REPLACE TRIGGER identities_inserted AFTER INSERT ON instagram_user_cache
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_identities();
CREATE OR REPLACE TRIGGER identities_updated AFTER UPDATE ON instagram_user_cache
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_identities();
CREATE OR REPLACE TRIGGER identities_deleted AFTER DELETE ON instagram_user_cache
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_identities();
CREATE OR REPLACE TRIGGER identities_truncated AFTER TRUNCATE ON instagram_user_cache
    FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_identities();
CREATE OR REPLACE TRIGGER participants_deleted AFTER DELETE ON instagram_participants
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_gone();
CREATE OR REPLACE TRIGGER participants_truncated AFTER TRUNCATE ON instagram_participants
    FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_gone();
CREATE OR REPLACE TRIGGER connections_inserted AFTER INSERT ON instagram_connections
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_change();
CREATE OR REPLACE TRIGGER connections_updated AFTER UPDATE ON instagram_connections
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_change();
CREATE OR REPLACE TRIGGER connections_deleted AFTER DELETE ON instagram_connections
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_change();
CREATE OR REPLACE TRIGGER connections_truncated AFTER TRUNCATE ON instagram_connections
    FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_change();
CREATE OR REPLACE TRIGGER pauses_inserted AFTER INSERT ON instagram_pauses
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_change();
CREATE OR REPLACE TRIGGER pauses_updated AFTER UPDATE ON instagram_pauses
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_change();
CREATE OR REPLACE TRIGGER pauses_deleted AFTER DELETE ON instagram_pauses
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_change();
CREATE OR REPLACE TRIGGER pauses_truncated AFTER TRUNCATE ON instagram_pauses
    FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_change();

-- If another application stores a new plain token, Meta's refusal of the old one no longer applies.
-- The condition is in the function, so that the application can still change the column's type.
CREATE OR REPLACE FUNCTION instagram_token_renewed() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF NEW.access_token IS DISTINCT FROM OLD.access_token AND NEW.access_token NOT LIKE 'v1.%' THEN
        NEW.token_status := 'active';
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END
$body$;

CREATE OR REPLACE TRIGGER connections_renewed BEFORE UPDATE ON instagram_connections
    FOR EACH ROW EXECUTE FUNCTION instagram_token_renewed();

-- 10. Pictures ------------------------------------------------------------------------------------

-- A picture exists as long as its user's identity has one: a trigger deletes it, so that deleting a
-- row by hand deletes the picture too. Its statements see what was committed while the change waited.
CREATE OR REPLACE FUNCTION instagram_drop_pictures() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE instagram_pictures;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM instagram_pictures p USING changed c WHERE p.ig_user_id = c.ig_user_id;
    ELSE
        DELETE FROM instagram_pictures p USING changed c
        WHERE p.ig_user_id = c.ig_user_id AND c.profile_pic_url IS NULL;
    END IF;
    RETURN NULL;
END
$body$;

-- Another application's role that writes instagram_user_cache needs no rights on our pictures.
DO $definer$
BEGIN
    EXECUTE format('ALTER FUNCTION instagram_drop_pictures() SECURITY DEFINER'
        ' SET search_path = %I, pg_temp', current_schema());
END
$definer$;

-- Notifies which user's picture has changed; copying the same bytes again does not.
CREATE OR REPLACE FUNCTION instagram_notify_pictures() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('instagram_pictures', '*');
    ELSIF TG_OP = 'UPDATE' THEN
        PERFORM pg_notify('instagram_pictures', c.ig_user_id)
        FROM changed c LEFT JOIN before b USING (ig_user_id)
        WHERE b.sha256 IS DISTINCT FROM c.sha256;
    ELSE
        PERFORM pg_notify('instagram_pictures', string_agg(ig_user_id, E'\n'))
        FROM (SELECT (row_number() OVER () - 1) / 200 AS page, ig_user_id FROM changed) AS lines
        GROUP BY page;
    END IF;
    RETURN NULL;
END
$body$;

CREATE OR REPLACE TRIGGER pictures_dropped_on_update AFTER UPDATE ON instagram_user_cache
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_drop_pictures();
CREATE OR REPLACE TRIGGER pictures_dropped_on_delete AFTER DELETE ON instagram_user_cache
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_drop_pictures();
CREATE OR REPLACE TRIGGER pictures_dropped_on_truncate AFTER TRUNCATE ON instagram_user_cache
    FOR EACH STATEMENT EXECUTE FUNCTION instagram_drop_pictures();
CREATE OR REPLACE TRIGGER pictures_inserted AFTER INSERT ON instagram_pictures
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_pictures();
CREATE OR REPLACE TRIGGER pictures_updated AFTER UPDATE ON instagram_pictures
    REFERENCING OLD TABLE AS before NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_pictures();
CREATE OR REPLACE TRIGGER pictures_deleted AFTER DELETE ON instagram_pictures
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_pictures();
CREATE OR REPLACE TRIGGER pictures_truncated AFTER TRUNCATE ON instagram_pictures
    FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_pictures();
