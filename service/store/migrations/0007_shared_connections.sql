-- Share the table of connections with an application that does not know this service.

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

-- Limit a time to Python's range; by default with room for a TTL.
CREATE OR REPLACE FUNCTION instagram_bounded(
    moment timestamptz, latest timestamptz DEFAULT '9980-01-01 00:00+00'
) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN moment IS NOT NULL
        THEN LEAST(GREATEST(moment, timestamptz '0002-01-01 00:00+00'), latest) END
$$;

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
