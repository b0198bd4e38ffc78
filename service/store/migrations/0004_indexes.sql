-- Create the indexes that version 1 lacked without blocking writes. A file that contains CONCURRENTLY
-- runs statement by statement, outside a transaction; it can be interrupted and run again.

-- An interrupted build leaves an index that is not valid.
SELECT format('DROP INDEX CONCURRENTLY %s', indexrelid::regclass) FROM pg_index
WHERE NOT indisvalid AND indexrelid IN (
    to_regclass('instagram_connections_location'),
    to_regclass('instagram_participants_user'),
    to_regclass('instagram_participants_due'),
    to_regclass('instagram_participants_recent'),
    to_regclass('instagram_user_cache_key'),
    to_regclass('instagram_connections_key'))
\gexec

CREATE INDEX CONCURRENTLY IF NOT EXISTS instagram_connections_location
    ON instagram_connections (location_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS instagram_participants_user
    ON instagram_participants (ig_user_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS instagram_participants_due
    ON instagram_participants (ig_account_id, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS instagram_participants_recent
    ON instagram_participants (ig_account_id, last_message_at DESC);

-- A table whose id is in no unique index of its own gets one.
DO $once$
DECLARE
    wanted record;
    is_repeated boolean;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('instagram_user_cache', 'ig_user_id'), ('instagram_connections', 'ig_account_id')
        ) AS w (in_table, key)
        WHERE NOT EXISTS (
            SELECT FROM pg_index i
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
            WHERE i.indrelid = to_regclass(w.in_table) AND i.indisunique AND i.indisvalid
                AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = w.key)
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I GROUP BY %I HAVING count(*) > 1)',
            wanted.in_table, wanted.key) INTO is_repeated;
        IF is_repeated THEN
            RAISE EXCEPTION '% has several rows with the same %: keep one of each, and run migrate '
                'again', wanted.in_table, wanted.key
            USING ERRCODE = 'IG001';
        END IF;
    END LOOP;
END
$once$;

SELECT format('CREATE UNIQUE INDEX CONCURRENTLY %I ON %I (%I)', in_table || '_key', in_table, key)
FROM (VALUES ('instagram_user_cache', 'ig_user_id'), ('instagram_connections', 'ig_account_id'))
    AS wanted (in_table, key)
WHERE NOT EXISTS (
    SELECT FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(in_table) AND i.indisunique AND i.indisvalid
        AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = key)
\gexec

-- If an existing row violates a constraint, the constraint applies only to new rows.
DO $validate$
BEGIN
    ALTER TABLE instagram_user_cache VALIDATE CONSTRAINT instagram_user_cache_source_check;
    ALTER TABLE instagram_user_cache VALIDATE CONSTRAINT instagram_user_cache_fail_count_check;
EXCEPTION WHEN check_violation THEN
    RAISE WARNING 'a row of instagram_user_cache has a fail_count below 0';
END
$validate$;
