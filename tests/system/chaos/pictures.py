"""Checks that each stored picture is its owner's and is served."""

from __future__ import annotations

import hashlib

from sandbox.graph.faces import face
from tests.system.chaos.rig import Rig

MOST_ASKED = 200
_STORED = "SELECT ig_user_id, sha256 FROM instagram_pictures"
# Copies that a dead process had queued are made at the next request.
_NOT_COPIED = """
SELECT c.ig_user_id FROM instagram_user_cache c
WHERE c.profile_pic_url IS NOT NULL AND NOT EXISTS (
    SELECT FROM instagram_pictures p WHERE p.ig_user_id = c.ig_user_id)
LIMIT $1
"""


async def judge_pictures(rig: Rig) -> tuple[int, list[str]]:
    """Count the stored pictures and list faults; requests those that are not copied yet."""
    missing = [row["ig_user_id"] for row in await rig.fetch(_NOT_COPIED, MOST_ASKED)]
    faults = [user for user in missing if not await _is_shown(rig, user)]
    stored = await rig.fetch(_STORED)
    mixed_up = [row["ig_user_id"] for row in stored if row["sha256"] != _sha256(row["ig_user_id"])]
    return len(stored), [
        *([f"{len(faults)} pictures not shown: {faults[:5]}"] if faults else []),
        *([f"{len(mixed_up)} pictures of somebody else: {mixed_up[:5]}"] if mixed_up else []),
    ]


async def _is_shown(rig: Rig, ig_user_id: str) -> bool:
    headers = {"Authorization": f"Bearer {rig.keys.inbox}"}
    answer = await rig.ask("GET", f"/users/{ig_user_id}/picture", headers=headers)
    return answer.status == 200 and answer.body == face(ig_user_id)


def _sha256(ig_user_id: str) -> str:
    return hashlib.sha256(face(ig_user_id)).hexdigest()
