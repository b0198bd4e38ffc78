-- Bring a database from before numbered migrations to one state: the handbook's eight-column
-- instagram_user_cache, an instagram_connections of another application with plain tokens, and
-- version 1 of this schema. Columns are added and types put right; no row is lost.

-- 1. What is known of each user -------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS instagram_user_cache (
    ig_user_id      text PRIMARY KEY,
    username        text,
    name            text,
    profile_pic_url text,
    last_fetched_at timestamptz,
    fail_count      integer NOT NULL DEFAULT 0 CHECK (fail_count >= 0),
    last_failed_at  timestamptz,
    raw             jsonb,
    expires_at      timestamptz,
    last_error      jsonb
);

-- 2. The accounts that we may call for ------------------------------------------------------------

CREATE TABLE IF NOT EXISTS instagram_connections (
    ig_account_id text PRIMARY KEY,
    alias_ids     text[] NOT NULL DEFAULT '{}',
    location_id   text NOT NULL,
    login         text NOT NULL DEFAULT 'facebook' CHECK (login IN ('facebook', 'instagram')),
    access_token  text NOT NULL,
    token_status  text NOT NULL DEFAULT 'active' CHECK (token_status IN ('active', 'invalid')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- 3. Who has written, and when each is due for a fetch --------------------------------------------

-- due_at: when the user next needs a fetch; null when fresh or stopped. While a worker holds the
-- row, `lease` names its claim and due_at is when the claim lapses by itself.
-- forced: fetch although the cache says that no fetch is needed (refresh, backfill, consent given).
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

-- 4. What holds calls back ------------------------------------------------------------------------

-- A pause that has run out stays until a call succeeds: `probing_until` lets one call through at a
-- time, and `strikes` lengthens the next pause of the same reason.
CREATE TABLE IF NOT EXISTS instagram_pauses (
    scope         text PRIMARY KEY,
    until         timestamptz NOT NULL,
    reason        text NOT NULL,
    strikes       integer NOT NULL DEFAULT 1,
    probing_until timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- The budget over all replicas: a GCRA row, logged on purpose (losing it in a crash would allow
-- the budget twice). `pace` is the share of the rate that Meta's usage headers leave us.
CREATE TABLE IF NOT EXISTS instagram_budget (
    scope       text PRIMARY KEY,
    next_at     timestamptz NOT NULL,
    pace        double precision NOT NULL DEFAULT 1 CHECK (pace > 0 AND pace <= 1),
    paced_until timestamptz
) WITH (fillfactor = 50);

-- Users in a row whose calls failed in a way that may not be their fault: five upstream failures
-- are an outage (scope `app`), two missing permissions are the account's (scope `account:<id>`).
CREATE TABLE IF NOT EXISTS instagram_streaks (
    scope                text NOT NULL,
    ig_user_id           text NOT NULL,
    error                jsonb NOT NULL,
    tries                integer NOT NULL DEFAULT 1,
    failed_at            timestamptz NOT NULL DEFAULT now(),
    prior_fail_count     integer NOT NULL DEFAULT 0,
    prior_last_failed_at timestamptz,
    prior_last_error     jsonb,
    PRIMARY KEY (scope, ig_user_id)
);

-- 5. Databases from before this file --------------------------------------------------------------

-- Their columns are kept, what is missing is added, types and nulls become what the service
-- expects. Every step looks first, so that a database that is up to date is not locked.
DO $upgrade$
DECLARE
    wanted record;
    has record;
BEGIN
    FOR wanted IN
        -- for_null: what a null becomes; itself null where nulls are allowed
        SELECT * FROM (VALUES
            ('instagram_user_cache', 'ig_user_id', 'text', NULL, ''),
            ('instagram_user_cache', 'username', 'text', NULL, NULL),
            ('instagram_user_cache', 'name', 'text', NULL, NULL),
            ('instagram_user_cache', 'profile_pic_url', 'text', NULL, NULL),
            ('instagram_user_cache', 'last_fetched_at', 'timestamp with time zone', NULL, NULL),
            ('instagram_user_cache', 'fail_count', 'integer', '0', '0'),
            ('instagram_user_cache', 'last_failed_at', 'timestamp with time zone', NULL, NULL),
            ('instagram_user_cache', 'raw', 'jsonb', NULL, NULL),
            ('instagram_user_cache', 'expires_at', 'timestamp with time zone', NULL, NULL),
            ('instagram_user_cache', 'last_error', 'jsonb', NULL, NULL),
            ('instagram_connections', 'ig_account_id', 'text', NULL, ''),
            ('instagram_connections', 'alias_ids', 'text[]', '''{}''', '{}'),
            ('instagram_connections', 'location_id', 'text', NULL, ''),
            ('instagram_connections', 'login', 'text', '''facebook''', 'facebook'),
            ('instagram_connections', 'access_token', 'text', NULL, ''),
            ('instagram_connections', 'token_status', 'text', '''active''', 'active'),
            ('instagram_connections', 'created_at', 'timestamp with time zone', 'now()', 'now'),
            ('instagram_connections', 'updated_at', 'timestamp with time zone', 'now()', 'now'),
            ('instagram_participants', 'due_at', 'timestamp with time zone', 'now()', NULL),
            ('instagram_participants', 'lease', 'bigint', NULL, NULL),
            ('instagram_participants', 'forced', 'boolean', 'false', 'false'),
            ('instagram_pauses', 'strikes', 'integer', '1', '1'),
            ('instagram_pauses', 'probing_until', 'timestamp with time zone', NULL, NULL),
            ('instagram_pauses', 'created_at', 'timestamp with time zone', 'now()', 'now')
        ) AS w (in_table, column_name, type, default_is, for_null)
    LOOP
        SELECT format_type(a.atttypid, NULL) AS type, a.attnotnull AS not_null, a.atthasdef AS a_default
        INTO has
        FROM pg_attribute a
        WHERE a.attrelid = to_regclass(wanted.in_table) AND a.attname = wanted.column_name
            AND NOT a.attisdropped;
        IF NOT FOUND THEN
            EXECUTE format('ALTER TABLE %I ADD COLUMN %I %s %s', wanted.in_table,
                wanted.column_name, wanted.type, 'DEFAULT ' || wanted.default_is);
            SELECT wanted.type AS type, false AS not_null, wanted.default_is IS NOT NULL AS a_default
            INTO has;
        END IF;
        IF has.type <> wanted.type AND wanted.type = 'jsonb' THEN
            -- what jsonb can't hold (\u0000, half a surrogate pair) is kept as a string of its text
            EXECUTE $create$
                CREATE OR REPLACE FUNCTION pg_temp.instagram_jsonb(stored text) RETURNS jsonb
                LANGUAGE plpgsql AS $body$ BEGIN
                    RETURN stored::jsonb;
                EXCEPTION WHEN data_exception THEN
                    RETURN to_jsonb(stored);
                END $body$
            $create$;
        END IF;
        IF has.type <> wanted.type THEN
            EXECUTE format('ALTER TABLE %1$I ALTER COLUMN %2$I DROP DEFAULT, '
                'ALTER COLUMN %2$I TYPE %3$s USING %4$s', wanted.in_table, wanted.column_name,
                wanted.type, CASE
                    WHEN wanted.type = 'jsonb'
                    THEN format('pg_temp.instagram_jsonb(%I::text)', wanted.column_name)
                    WHEN has.type = 'timestamp without time zone'
                    THEN format('%I AT TIME ZONE ''UTC''', wanted.column_name)
                    ELSE format('%I::%s', wanted.column_name, wanted.type) END);
            has.a_default := false;
        END IF;
        IF wanted.default_is IS NOT NULL AND NOT has.a_default THEN
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT %s', wanted.in_table,
                wanted.column_name, wanted.default_is);
        END IF;
        IF wanted.for_null IS NOT NULL AND NOT has.not_null THEN
            EXECUTE format('UPDATE %1$I SET %2$I = %3$L WHERE %2$I IS NULL', wanted.in_table,
                wanted.column_name, wanted.for_null);
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET NOT NULL', wanted.in_table,
                wanted.column_name);
        ELSIF wanted.for_null IS NULL AND has.not_null THEN
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I DROP NOT NULL', wanted.in_table,
                wanted.column_name);
        END IF;
    END LOOP;
END
$upgrade$;

-- Rows from before are not looked at here, so that nothing waits.
DO $check$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('instagram_user_cache')
            AND conname = 'instagram_user_cache_fail_count_check')
    THEN
        ALTER TABLE instagram_user_cache ADD CONSTRAINT instagram_user_cache_fail_count_check
            CHECK (fail_count >= 0) NOT VALID;
    END IF;
END
$check$;

-- 6. Notices: every replica hears of what it may hold in memory, changes made by hand included -----

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
    -- a statement that touched no row, such as every place in the budget, is no news
    PERFORM pg_notify(TG_TABLE_NAME, '') WHERE EXISTS (SELECT FROM changed);
    RETURN NULL;
END
$body$;

DO $triggers$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('identities_inserted', 'INSERT', 'instagram_user_cache', 'NEW', 'identities'),
            ('identities_updated', 'UPDATE', 'instagram_user_cache', 'NEW', 'identities'),
            ('identities_deleted', 'DELETE', 'instagram_user_cache', 'OLD', 'identities'),
            ('identities_truncated', 'TRUNCATE', 'instagram_user_cache', NULL, 'identities'),
            ('participants_deleted', 'DELETE', 'instagram_participants', 'OLD', 'gone'),
            ('participants_truncated', 'TRUNCATE', 'instagram_participants', NULL, 'gone'),
            ('connections_inserted', 'INSERT', 'instagram_connections', 'NEW', 'change'),
            ('connections_updated', 'UPDATE', 'instagram_connections', 'NEW', 'change'),
            ('connections_deleted', 'DELETE', 'instagram_connections', 'OLD', 'change'),
            ('connections_truncated', 'TRUNCATE', 'instagram_connections', NULL, 'change'),
            ('pauses_inserted', 'INSERT', 'instagram_pauses', 'NEW', 'change'),
            ('pauses_updated', 'UPDATE', 'instagram_pauses', 'NEW', 'change'),
            ('pauses_deleted', 'DELETE', 'instagram_pauses', 'OLD', 'change'),
            ('pauses_truncated', 'TRUNCATE', 'instagram_pauses', NULL, 'change')
        ) AS w (trigger_name, event, in_table, rows, notice)
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger t
            WHERE t.tgrelid = to_regclass(w.in_table) AND t.tgname = w.trigger_name)
    LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %I %s FOR EACH STATEMENT EXECUTE FUNCTION %I()',
            wanted.trigger_name, wanted.event, wanted.in_table,
            'REFERENCING ' || wanted.rows || ' TABLE AS changed', 'instagram_notify_' || wanted.notice);
    END LOOP;
END
$triggers$;
