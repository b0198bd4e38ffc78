"""Stored identities of every kind, for the tests of the rules."""

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import strategies as st

from service.model.freshness import CachedIdentity, Rules

USER = "1254459154682919"
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
RULES = Rules()
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
CACHED = st.builds(
    CachedIdentity,
    ig_user_id=st.just(USER),
    last_fetched_at=st.none() | MOMENTS,
    expires_at=st.none() | MOMENTS,
    fail_count=st.integers(0, 7),
    last_failed_at=st.none() | MOMENTS,
    last_reason=st.none() | st.sampled_from(["consent_required", "not_found", "timeout"]),
    is_participant=st.booleans(),
    pause=st.none() | st.sampled_from(["throttled", "token_invalid"]),
)


def cached(**fields: object) -> CachedIdentity:
    return msgspec.structs.replace(CachedIdentity(USER), **fields)
