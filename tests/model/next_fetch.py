"""The reference for the SQL rule `instagram_next_fetch`."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.model.freshness import CachedIdentity, Rules, is_fresh, is_stopped, retry_wait

CONSENT_RETRY_AFTER = timedelta(minutes=10)


def next_fetch(
    cached: CachedIdentity, now: datetime, rules: Rules, *, wrote: bool
) -> datetime | None:
    """Return when the user is to be fetched; None if fresh or stopped.

    A user whose last failure is missing consent and who then writes is tried immediately, but at
    the earliest 10 minutes after the last attempt.
    """
    if is_fresh(cached, now, rules):
        return None
    if cached.fail_count == 0 or (cached.last_failed_at is None and not is_stopped(cached, rules)):
        return now
    regular = None if is_stopped(cached, rules) else _retry_at(cached, rules)
    if not wrote or cached.last_reason != "consent_required":
        return regular
    consented = now
    if cached.last_failed_at is not None:
        consented = max(now, cached.last_failed_at + CONSENT_RETRY_AFTER)
    return consented if regular is None else min(consented, regular)


def _retry_at(cached: CachedIdentity, rules: Rules) -> datetime | None:
    failed_at = cached.last_failed_at
    return None if failed_at is None else failed_at + retry_wait(cached.fail_count, rules)
