-- Users by state, for /status and the metrics.

-- name: count_users
-- $1: the failures that end retries; $2, $3: how many pages of the identities and the participants
-- are read; for larger tables a random sample is extrapolated. Identities of participants are
-- looked up by key, because with a join the planner would read all of them.
WITH share AS (
    SELECT LEAST(1, $2::float8 * 8192 / GREATEST(pg_relation_size('instagram_user_cache'), 1))
        AS of_cache,
        LEAST(1, $3::float8 * 8192 / GREATEST(pg_relation_size('instagram_participants'), 1))
        AS of_participants
), cached AS (
    SELECT count(*) FILTER (WHERE last_fetched_at IS NOT NULL) AS resolved,
        count(*) FILTER (WHERE last_fetched_at IS NULL AND fail_count >= $1) AS failed
    FROM instagram_user_cache TABLESAMPLE SYSTEM (100 * (SELECT of_cache FROM share))
), waiting AS (
    SELECT count(DISTINCT p.ig_user_id) AS pending
    FROM instagram_participants p TABLESAMPLE SYSTEM (100 * (SELECT of_participants FROM share))
    LEFT JOIN LATERAL (
        SELECT c.last_fetched_at, c.fail_count FROM instagram_user_cache c
        WHERE c.ig_user_id = p.ig_user_id OFFSET 0
    ) AS c ON true
    WHERE c.last_fetched_at IS NULL AND COALESCE(c.fail_count, 0) < $1
)
SELECT round(c.resolved / s.of_cache)::bigint AS resolved,
    round(w.pending / s.of_participants)::bigint AS pending,
    round(c.failed / s.of_cache)::bigint AS failed
FROM share s, cached c, waiting w;
