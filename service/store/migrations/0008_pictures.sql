-- Delete pictures with their identity, and send notices when they change.

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
