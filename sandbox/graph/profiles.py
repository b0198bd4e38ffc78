"""Generated Instagram profiles; the same id always has the same person."""

import hashlib
from collections.abc import Mapping

JsonObject = dict[str, object]

PROFILE_FIELDS = (
    "name",
    "username",
    "profile_pic",
    "follower_count",
    "is_user_follow_business",
    "is_business_follow_user",
    "is_verified_user",
)

_FIRST = ("Amber", "Birch", "Cedar", "Coral", "Dusky", "Fern", "Golden", "Hazel", "Ivory", "Jade")
_LAST = ("Anchor", "Basket", "Candle", "Drum", "Easel", "Fiddle", "Garden", "Harbour", "Kettle")


def made_up_profile(ig_user_id: str) -> JsonObject:
    """Return the generated profile of an id, without its picture."""
    seed = hashlib.blake2b(ig_user_id.encode(), digest_size=8).digest()
    first, last = _FIRST[seed[0] % len(_FIRST)], _LAST[seed[1] % len(_LAST)]
    number = int.from_bytes(seed[2:4], "big")
    return {
        "name": f"{first} {last}",
        "username": f"{first}.{last}.{number}".lower(),
        "follower_count": int.from_bytes(seed[4:6], "big"),
        "is_user_follow_business": bool(seed[6] & 1),
        "is_business_follow_user": bool(seed[6] & 2),
        "is_verified_user": False,
        "id": ig_user_id,
    }


def unknown_field(fields: str) -> str | None:
    """Return the first unknown field of a request, which makes Graph refuse the call."""
    known = (*PROFILE_FIELDS, "id")
    return next((field for field in _split(fields) if field not in known), None)


def pick_fields(profile: Mapping[str, object], fields: str) -> JsonObject:
    """Return the requested fields in order, and the id, which Graph always adds last."""
    asked = _split(fields) or ["name"]
    kept = {field: profile[field] for field in asked if field in profile and field != "id"}
    return kept | {"id": profile["id"]}


def _split(fields: str) -> list[str]:
    return [field.strip() for field in fields.split(",") if field.strip()]
