-- Deliveries that wait to be posted to the forward addresses (table instagram_forwards). A row is
-- one delivery to one address. While a replica posts it, it is leased and due_at is when the lease
-- lapses.

-- name: store
-- $1 delivery ids, $2 addresses, $3 headers, $4 sealed bodies, $5 bytes, $6 the only user or null,
-- $7 how long to retry
INSERT INTO instagram_forwards
    (delivery_id, address, headers, body, bytes, only_user_id, give_up_at)
SELECT d.delivery_id, d.address, d.headers::jsonb, d.body, d.bytes, d.only_user_id,
    now() + $7::interval
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::integer[], $6::text[])
    AS d (delivery_id, address, headers, body, bytes, only_user_id);

-- name: lock_address
-- $1 the address. Serializes the claims of replicas for one address.
SELECT pg_advisory_xact_lock(hashtext('instagram_forwards'), hashtext($1::text));

-- name: claim
-- $1 the address, $2 how many, $3 the lease, $4 how long it lasts, $5 most at a time an address
WITH busy AS (
    SELECT count(*) AS posting FROM instagram_forwards
    WHERE address = $1::text AND lease IS NOT NULL AND due_at > now()
), next AS (
    SELECT id FROM instagram_forwards
    WHERE address = $1::text AND set_aside_at IS NULL AND due_at <= now()
    ORDER BY due_at, id
    LIMIT (SELECT LEAST($2::bigint, GREATEST($5::bigint - posting, 0)) FROM busy)
)
UPDATE instagram_forwards f SET lease = $3::bigint, due_at = now() + $4::interval
FROM next n WHERE f.id = n.id
RETURNING f.id, f.delivery_id::text AS delivery_id, f.headers::text AS headers_json,
    f.body AS sealed_body, f.attempts;

-- name: finish
-- $1 ids, $2 leases. Deletes deliveries that were answered with 2xx.
DELETE FROM instagram_forwards f
USING unnest($1::bigint[], $2::bigint[]) AS d (id, lease)
WHERE f.id = d.id AND f.lease = d.lease;

-- name: postpone
-- $1 ids, $2 leases, $3 errors, $4 the first wait, $5 the longest wait
UPDATE instagram_forwards f SET
    attempts = LEAST(GREATEST(f.attempts, 0), 1000000) + 1, lease = NULL, last_error = d.error,
    due_at = now()
        + LEAST($4::interval * power(2, LEAST(GREATEST(f.attempts, 0), 20)), $5::interval),
    set_aside_at = CASE WHEN f.give_up_at <= now() THEN now() END
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS d (id, lease, error)
WHERE f.id = d.id AND f.lease = d.lease
RETURNING f.id, f.attempts, f.due_at, f.set_aside_at IS NOT NULL AS is_set_aside;

-- name: release
-- $1 ids, $2 leases. Releases deliveries that were not posted.
UPDATE instagram_forwards f SET lease = NULL, due_at = now()
FROM unnest($1::bigint[], $2::bigint[]) AS d (id, lease)
WHERE f.id = d.id AND f.lease = d.lease;

-- name: measure
-- Waiting and set-aside deliveries, one row per address.
SELECT address,
    count(*) FILTER (WHERE set_aside_at IS NULL) AS waiting,
    COALESCE(sum(bytes) FILTER (WHERE set_aside_at IS NULL), 0)::bigint AS bytes,
    count(*) FILTER (WHERE lease IS NOT NULL AND due_at > now()) AS posting,
    count(*) FILTER (WHERE set_aside_at IS NOT NULL) AS set_aside,
    GREATEST(EXTRACT(epoch FROM now()
        - instagram_bounded(min(received_at) FILTER (WHERE set_aside_at IS NULL))), 0)
        ::float8 AS oldest_s,
    COALESCE(max(attempts) FILTER (WHERE set_aside_at IS NULL), 0) AS most_attempts
FROM instagram_forwards GROUP BY address ORDER BY address;

-- name: last_error
-- $1 the address. Returns the error of its most recent failed attempt.
SELECT last_error FROM instagram_forwards
WHERE address = $1::text AND last_error IS NOT NULL ORDER BY due_at DESC LIMIT 1;

-- name: set_aside_overdue
-- $1 at most so many. Sets aside overdue deliveries that no replica posts, such as those to an
-- address removed from FORWARD_URLS.
WITH overdue AS (
    SELECT id FROM instagram_forwards
    WHERE set_aside_at IS NULL AND give_up_at <= now() - interval '1 hour' LIMIT $1::bigint
    FOR UPDATE SKIP LOCKED
)
UPDATE instagram_forwards f SET set_aside_at = now(), lease = NULL
FROM overdue o WHERE f.id = o.id RETURNING f.address;

-- name: delete_set_aside
-- $1 set aside for so long, $2 at most so many
WITH old AS (
    SELECT id FROM instagram_forwards WHERE set_aside_at <= now() - $1::interval LIMIT $2::bigint
    FOR UPDATE SKIP LOCKED
)
DELETE FROM instagram_forwards f USING old o WHERE f.id = o.id RETURNING f.address;

-- name: retry
-- $1 the address or null for all, $2 after this id, $3 at most so many, $4 how long to go on trying
WITH chosen AS (
    SELECT id FROM instagram_forwards
    WHERE ($1::text IS NULL OR address = $1::text) AND id > $2::bigint
        AND (lease IS NULL OR due_at <= now())
    ORDER BY id LIMIT $3::bigint FOR UPDATE SKIP LOCKED
)
UPDATE instagram_forwards f SET
    lease = NULL, due_at = now(), attempts = 0, set_aside_at = NULL,
    give_up_at = now() + $4::interval
FROM chosen c WHERE f.id = c.id RETURNING f.id;

-- name: drop
-- $1 the address, $2 only what is set aside, $3 at most so many
WITH chosen AS (
    SELECT id FROM instagram_forwards
    WHERE address = $1::text AND (set_aside_at IS NOT NULL OR NOT $2::boolean)
    LIMIT $3::bigint FOR UPDATE SKIP LOCKED
)
DELETE FROM instagram_forwards f USING chosen c WHERE f.id = c.id RETURNING f.id;
