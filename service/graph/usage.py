"""Parses Meta's usage headers ("Graph API: Rate limits")."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

PROFILE_POOLS = frozenset({"instagram"})
CONVERSATION_POOLS = frozenset({"messenger", "pages"})
_LONGEST_WAIT_S = 86_400.0
_LARGEST = 1e308  # a larger integer does not fit in a float


class Usage(msgspec.Struct, frozen=True):
    """The used share of Meta's limits in percent, and the waits that Meta asks for, in seconds.

    `app` is None if Meta does not send it, as after few calls. `account` and `regain_s` come from
    the rows of the call's own pool, `other_regain_s` from all other rows.
    """

    app: float | None = None
    account: float = 0
    regain_s: float | None = None
    other_regain_s: float | None = None

    @property
    def throttled_s(self) -> float | None:
        """How long to wait after Meta has throttled a call, whichever pool caused it."""
        return self.regain_s or self.other_regain_s


def read_usage(headers: Mapping[str, str], pools: Collection[str] = PROFILE_POOLS) -> Usage:
    """Parse the usage headers; unreadable ones are ignored.

    One header can hold rows of several pools under several ids: a row of another `type` does not
    apply to this kind of call. A row without a type applies to every kind.
    """
    app = _percent(_json_header(headers, "X-App-Usage")) or None
    rows = _rows(_json_header(headers, "X-Business-Use-Case-Usage"))
    own = [row for row in rows if row.get("type") in (None, *pools)]
    others = [row for row in rows if row.get("type") not in (None, *pools)]
    return Usage(
        app=app,
        account=max(map(_percent, own), default=0.0),
        regain_s=_bounded(max([_retry_after(headers), *map(_regain_s, own)])),
        other_regain_s=_bounded(max(map(_regain_s, others), default=0.0)),
    )


def _rows(business: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [row for found in business.values() if isinstance(found, list) for row in found]
    return [row for row in rows if isinstance(row, dict)]


def _regain_s(row: dict[str, Any]) -> float:
    return 60 * _number(row.get("estimated_time_to_regain_access"))


def _bounded(wait_s: float) -> float | None:
    """Return a wait within the allowed range; None for 0, which means no wait."""
    return min(wait_s, _LONGEST_WAIT_S) or None


def _json_header(headers: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(headers.get(name, "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _percent(usage: dict[str, Any]) -> float:
    return max(_number(usage.get(key)) for key in ("call_count", "total_time", "total_cputime"))


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return _number(float(headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= _LARGEST else 0.0  # type: ignore[arg-type,operator]
