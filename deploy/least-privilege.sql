-- The role that `serve` runs as when MIGRATE_ON_START=false: it reads and writes the rows of the
-- tables named below. The owner of the tables applies this file after `migrate` and again after each
-- upgrade (it can be applied at any time):
--
--   psql "$OWNER_DATABASE_URL" -v ON_ERROR_STOP=1 -f deploy/least-privilege.sql
--   psql "$OWNER_DATABASE_URL" -c '\password instagram_identity'
--
-- `migrate`, which changes tables and seals tokens, keeps running as the owner.
--
-- Like every role of PostgreSQL, it can also create large objects (lo_from_bytea), take advisory
-- locks, listen and notify, read the catalogs, and call the functions granted to PUBLIC. Check these
-- if another application has SECURITY DEFINER functions in this database, because they run with the
-- rights of their owner:
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

-- Revoke what every role can do by default: create temporary tables, and create objects in `public`
-- (PostgreSQL 14). Grant these by name to other roles that need them.
DO $database$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM instagram_identity', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO instagram_identity', current_database());
END
$database$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO instagram_identity;

-- Rows, not tables: no TRUNCATE, REFERENCES, TRIGGER or DDL. Every role can execute the functions of
-- our triggers; they run with the rights of this role.
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
