-- Accounts that were removed with their people, and people whose last message is too old.

-- name: begin
-- $1 the account whose people are to be erased
INSERT INTO instagram_leavings (ig_account_id) VALUES ($1::text)
ON CONFLICT (ig_account_id) DO UPDATE SET due_at = now();

-- name: claim
-- $1 how long the claim lasts without progress
UPDATE instagram_leavings SET due_at = now() + $1::interval
WHERE ig_account_id = (
    SELECT ig_account_id FROM instagram_leavings WHERE due_at <= now()
    ORDER BY requested_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING ig_account_id;

-- name: find_people
-- $1 the account, $2 at most so many. Returns its people, and whether each wrote to another
-- account.
SELECT p.ig_user_id, EXISTS (
        SELECT FROM instagram_participants o
        WHERE o.ig_user_id = p.ig_user_id AND o.ig_account_id <> p.ig_account_id) AS is_shared
FROM instagram_participants p WHERE p.ig_account_id = $1::text
ORDER BY p.ig_user_id LIMIT $2::integer;

-- name: detach
-- $1 the account, $2 users who also wrote to another account. Deletes only their participants.
WITH held AS (
    SELECT ig_account_id, ig_user_id FROM instagram_participants
    WHERE ig_account_id = $1::text AND ig_user_id = ANY ($2::text[])
    ORDER BY ig_user_id FOR UPDATE
)
DELETE FROM instagram_participants p USING held h
WHERE p.ig_account_id = h.ig_account_id AND p.ig_user_id = h.ig_user_id;

-- name: note_progress
-- $1 the account, $2 how many more are erased, $3 how long the claim lasts from now on; no row if
-- the account was connected again
UPDATE instagram_leavings l SET
    erased = LEAST(l.erased, 9223372036854000000) + $2::bigint, due_at = now() + $3::interval
WHERE l.ig_account_id = $1::text AND NOT EXISTS (
    SELECT FROM instagram_connections k WHERE k.ig_account_id = l.ig_account_id)
RETURNING l.erased;

-- name: finish
-- $1 the account
DELETE FROM instagram_leavings WHERE ig_account_id = $1::text RETURNING erased;

-- name: list_leavings
SELECT ig_account_id FROM instagram_leavings ORDER BY requested_at LIMIT 100;

-- name: find_silent
-- $1 the time limit, $2 and $3 start after this time and user, $4 at most so many. Returns
-- participants by last message, and whether each user wrote to another account after the limit.
SELECT p.ig_user_id, p.last_message_at, EXISTS (
        SELECT FROM instagram_participants o
        WHERE o.ig_user_id = p.ig_user_id AND o.last_message_at >= $1::timestamptz) AS wrote_since
FROM instagram_participants p
WHERE p.last_message_at < $1::timestamptz
    AND (p.last_message_at, p.ig_user_id) > ($2::timestamptz, $3::text)
ORDER BY p.last_message_at, p.ig_user_id LIMIT $4::integer;

-- name: lock_silent
-- $1 users, $2 the time limit. Locks the participants of users who have not written since.
WITH held AS (
    SELECT ig_account_id, ig_user_id, last_message_at FROM instagram_participants
    WHERE ig_user_id = ANY ($1::text[]) ORDER BY ig_user_id, ig_account_id FOR UPDATE
)
SELECT ig_account_id, ig_user_id FROM held h WHERE NOT EXISTS (
    SELECT FROM held o WHERE o.ig_user_id = h.ig_user_id AND o.last_message_at >= $2::timestamptz);

-- name: lock_alone
-- $1 users, $2 the account. Locks the participants of users who wrote to no other account.
WITH held AS (
    SELECT ig_account_id, ig_user_id FROM instagram_participants
    WHERE ig_user_id = ANY ($1::text[]) ORDER BY ig_user_id, ig_account_id FOR UPDATE
)
SELECT ig_account_id, ig_user_id FROM held h WHERE NOT EXISTS (
    SELECT FROM held o WHERE o.ig_user_id = h.ig_user_id AND o.ig_account_id <> $2::text);

-- name: delete_participants
-- $1 accounts, $2 users: pairs
DELETE FROM instagram_participants p
USING unnest($1::text[], $2::text[]) AS gone (ig_account_id, ig_user_id)
WHERE p.ig_account_id = gone.ig_account_id AND p.ig_user_id = gone.ig_user_id;

-- name: claim_chore
-- $1 the chore's name, $2 the time until it is due again. Returns a row if this replica does it
-- now.
INSERT INTO instagram_chores AS c (name, due_at) VALUES ($1::text, now() + $2::interval)
ON CONFLICT (name) DO UPDATE SET due_at = EXCLUDED.due_at WHERE c.due_at <= now()
RETURNING name;
