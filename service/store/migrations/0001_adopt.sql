-- Upgrade any database from before numbered migrations to the same schema: the handbook's
-- eight-column instagram_user_cache, another application's instagram_connections with plain tokens,
-- and version 1 of this schema. Columns are added and types corrected; no row is lost.

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

-- The call budget of all replicas: a GCRA row. The table is logged, since losing the row in a crash
-- would allow the budget twice. `pace` is the share of the rate that Meta's usage headers allow.
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

-- 5. Tables from before this file -----------------------------------------------------------------

-- A table that cannot be used is refused with a sentence that says what to do.
DO $refuse$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT w.*, c.relkind, c.oid AS table_id FROM (VALUES
            ('instagram_user_cache', 'ig_user_id'), ('instagram_connections', 'ig_account_id')
        ) AS w (in_table, key)
        JOIN pg_class c ON c.oid = to_regclass(w.in_table)
    LOOP
        IF wanted.relkind <> 'r' THEN
            RAISE EXCEPTION '% is not an ordinary table (a view, or partitioned): give it another '
                'name, run migrate again, and copy its rows into the table that migrate makes',
                wanted.in_table
            USING ERRCODE = 'IG001';
        ELSIF NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = wanted.table_id AND attname = wanted.key AND NOT attisdropped)
        THEN
            RAISE EXCEPTION '% has no column %: add the column, or give the table another name',
                wanted.in_table, wanted.key
            USING ERRCODE = 'IG001';
        END IF;
    END LOOP;

    FOR wanted IN
        SELECT w.column_name, format_type(a.atttypid, a.atttypmod) AS type, w.types
        FROM (VALUES
            ('ig_account_id', '{text,character varying}'::text[]),
            ('alias_ids', '{text[],character varying[]}'),
            ('location_id', '{text,character varying}'),
            ('login', '{text,character varying}'),
            ('access_token', '{text,character varying}'),
            ('token_status', '{text,character varying}'),
            ('created_at', '{timestamp with time zone,timestamp without time zone}'),
            ('updated_at', '{timestamp with time zone,timestamp without time zone}'),
            ('username', '{text,character varying}'),
            ('token_expires_at', '{timestamp with time zone}'),
            ('data_access_expires_at', '{timestamp with time zone}'),
            ('token_checked_at', '{timestamp with time zone}'),
            ('token_scopes', '{text[],character varying[]}')
        ) AS w (column_name, types)
        JOIN pg_attribute a ON a.attrelid = to_regclass('instagram_connections')
            AND a.attname = w.column_name AND NOT a.attisdropped
        WHERE format_type(a.atttypid, NULL) <> ALL (w.types)
    LOOP
        RAISE EXCEPTION 'instagram_connections.% has the type %, and the service needs %: change '
            'it with ALTER TABLE, or give the table another name', wanted.column_name, wanted.type,
            wanted.types[1]
            USING ERRCODE = 'IG001';
    END LOOP;
END
$refuse$;

-- Add the cache's missing columns, and correct types and nulls. Every step checks first, so that an
-- up-to-date table is not locked.
DO $cache$
DECLARE
    wanted record;
    has record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('ig_user_id', 'text'),
            ('username', 'text'),
            ('name', 'text'),
            ('profile_pic_url', 'text'),
            ('last_fetched_at', 'timestamp with time zone'),
            ('fail_count', 'integer'),
            ('last_failed_at', 'timestamp with time zone'),
            ('raw', 'jsonb'),
            ('expires_at', 'timestamp with time zone'),
            ('last_error', 'jsonb')
        ) AS w (column_name, type)
    LOOP
        SELECT format_type(a.atttypid, NULL) AS type, a.attnotnull AS not_null INTO has
        FROM pg_attribute a
        WHERE a.attrelid = to_regclass('instagram_user_cache') AND a.attname = wanted.column_name
            AND NOT a.attisdropped;
        IF NOT FOUND THEN
            EXECUTE format('ALTER TABLE instagram_user_cache ADD COLUMN %I %s', wanted.column_name,
                wanted.type);
            CONTINUE;
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
            EXECUTE format('ALTER TABLE instagram_user_cache ALTER COLUMN %1$I DROP DEFAULT, '
                'ALTER COLUMN %1$I TYPE %2$s USING %3$s', wanted.column_name, wanted.type, CASE
                    WHEN wanted.type = 'jsonb'
                    THEN format('pg_temp.instagram_jsonb(%I::text)', wanted.column_name)
                    WHEN has.type = 'timestamp without time zone'
                    THEN format('%I AT TIME ZONE ''UTC''', wanted.column_name)
                    ELSE format('%I::%s', wanted.column_name, wanted.type) END);
        END IF;
        IF has.not_null AND wanted.column_name NOT IN ('ig_user_id', 'fail_count') THEN
            EXECUTE format('ALTER TABLE instagram_user_cache ALTER COLUMN %I DROP NOT NULL',
                wanted.column_name);
        END IF;
    END LOOP;

    IF EXISTS (
        SELECT FROM pg_attribute a LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = to_regclass('instagram_user_cache') AND attname = 'fail_count'
            AND (NOT attnotnull OR pg_get_expr(adbin, adrelid) IS DISTINCT FROM '0'))
    THEN
        ALTER TABLE instagram_user_cache ALTER COLUMN fail_count SET DEFAULT 0;
        UPDATE instagram_user_cache SET fail_count = 0 WHERE fail_count IS NULL;
        ALTER TABLE instagram_user_cache ALTER COLUMN fail_count SET NOT NULL;
    END IF;
EXCEPTION WHEN feature_not_supported THEN
    RAISE EXCEPTION 'a view or a rule uses a column of instagram_user_cache whose type has to '
        'change: drop it, run migrate again, and create it again'
            USING ERRCODE = 'IG001';
END
$cache$;

-- The table of connections can belong to another application: its columns, nulls and defaults stay.
-- Ours are added with a default, so that its INSERTs still work. Tokens become text without a length
-- limit, since an encrypted token is longer; that change rewrites no rows.
DO $connections$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('ig_account_id', 'text NOT NULL'),
            ('alias_ids', 'text[] NOT NULL DEFAULT ''{}'''),
            ('location_id', 'text NOT NULL DEFAULT '''''),
            ('login', 'text NOT NULL DEFAULT ''facebook'''),
            ('access_token', 'text NOT NULL DEFAULT '''''),
            ('token_status', 'text NOT NULL DEFAULT ''active'''),
            ('created_at', 'timestamptz NOT NULL DEFAULT now()'),
            ('updated_at', 'timestamptz NOT NULL DEFAULT now()')
        ) AS w (column_name, definition)
        LEFT JOIN LATERAL (
            SELECT format_type(a.atttypid, NULL) AS type FROM pg_attribute a
            WHERE a.attrelid = to_regclass('instagram_connections')
                AND a.attname = w.column_name AND NOT a.attisdropped
        ) AS has ON true
        WHERE has.type IS NULL OR has.type LIKE 'character varying%'
    LOOP
        IF wanted.type IS NULL THEN
            EXECUTE format('ALTER TABLE instagram_connections ADD COLUMN %I %s',
                wanted.column_name, wanted.definition);
        ELSE
            EXECUTE format('ALTER TABLE instagram_connections ALTER COLUMN %I TYPE %s',
                wanted.column_name, split_part(wanted.definition, ' ', 1));
        END IF;
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    RAISE EXCEPTION 'a view or a rule uses a column of instagram_connections that has to become '
        'text: drop it, run migrate again, and create it again'
            USING ERRCODE = 'IG001';
END
$connections$;

-- Existing rows are not validated here, so that no session waits.
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
    -- a statement that touched no row, such as every slot in the budget, is no news
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
