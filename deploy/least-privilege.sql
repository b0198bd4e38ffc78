-- The role that `serve` runs as when MIGRATE_ON_START=false: it reads and writes the rows of the
-- tables named below. Applied by the owner of the tables, after `migrate` and again after each
-- upgrade (it may be applied at any time):
--
--   psql "$OWNER_DATABASE_URL" -v ON_ERROR_STOP=1 -f deploy/least-privilege.sql
--   psql "$OWNER_DATABASE_URL" -c '\password instagram_identity'
--
-- `migrate`, which changes tables and seals tokens, keeps running as the owner.
--
-- What PostgreSQL lets every role do, this one can do too: make large objects (lo_from_bytea), take
-- advisory locks, listen and notify, read the catalogs, and call the functions that PUBLIC may call.
-- The last matters where another application keeps SECURITY DEFINER functions in this database; they
-- run with their owner's rights:
--
--   SELECT oid::regprocedure, proowner::regrole FROM pg_proc
--   WHERE prosecdef AND has_function_privilege('instagram_identity', oid, 'EXECUTE');

DO $role$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'instagram_identity') THEN
        CREATE ROLE instagram_identity;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this server was prepared at the same moment
END
$role$;

ALTER ROLE instagram_identity
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT;

-- What every role may do by default is taken away: temporary tables, and objects in `public`, which
-- PostgreSQL 14 still allows. Another role that needs them has to be granted them by name.
DO $database$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM instagram_identity', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO instagram_identity', current_database());
END
$database$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO instagram_identity;

-- Rows, not tables: no TRUNCATE, REFERENCES, TRIGGER or DDL. The functions of our triggers may be
-- executed by everybody and run with this role's own rights.
DO $tables$
DECLARE
    ours text;
BEGIN
    FOR ours IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relname IN (
            'instagram_user_cache', 'instagram_pictures', 'instagram_connections',
            'instagram_participants', 'instagram_pauses', 'instagram_active_pauses',
            'instagram_budget', 'instagram_streaks', 'instagram_forwards',
            'instagram_token_checks', 'instagram_leavings', 'instagram_chores',
            'instagram_conversation_limits')
    LOOP
        EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, instagram_identity', ours);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO instagram_identity', ours);
    END LOOP;
END
$tables$;
