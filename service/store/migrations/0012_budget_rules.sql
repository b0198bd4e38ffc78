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
