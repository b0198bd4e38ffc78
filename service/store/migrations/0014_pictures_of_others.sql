-- Another application's role that writes instagram_user_cache needs no rights on our pictures.
DO $definer$
BEGIN
    EXECUTE format('ALTER FUNCTION instagram_drop_pictures() SECURITY DEFINER'
        ' SET search_path = %I, pg_temp', current_schema());
END
$definer$;
