-- Copies of profile pictures (table instagram_pictures). A copy is stored only if the identity
-- still has its URL, so an erasure during the copy takes precedence.

-- name: touch
-- $1 the user, $2 the picture's address, $3 the SHA-256 of its bytes, which are already stored
WITH held AS (
    SELECT FROM instagram_user_cache WHERE ig_user_id = $1 AND profile_pic_url = $2 FOR SHARE
)
UPDATE instagram_pictures SET copied_at = now()
WHERE ig_user_id = $1 AND sha256 = $3 AND EXISTS (SELECT FROM held)
RETURNING true AS is_kept;

-- name: keep
-- $1 the user, $2 the picture's address, $3 the SHA-256, $4 the media type, $5 the bytes
WITH held AS (
    SELECT ig_user_id FROM instagram_user_cache
    WHERE ig_user_id = $1 AND profile_pic_url = $2 FOR SHARE
)
INSERT INTO instagram_pictures (ig_user_id, sha256, content_type, bytes)
SELECT ig_user_id, $3, $4, $5 FROM held
ON CONFLICT (ig_user_id) DO UPDATE SET sha256 = EXCLUDED.sha256,
    content_type = EXCLUDED.content_type, bytes = EXCLUDED.bytes, copied_at = now()
RETURNING true AS is_kept;

-- name: read
-- $1 the user
SELECT sha256, content_type, bytes FROM instagram_pictures WHERE ig_user_id = $1;
