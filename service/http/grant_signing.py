"""Grants: short-lived signed tokens for browsers, which read names and pictures without a key."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LONGEST_S = 3600
_LABEL = b"instagram-identity: signing grants, v1"
_KEY_BYTES = 32
_GRANT = re.compile(r"(?P<signed>v1\.(?P<until_ms>[0-9]{1,15}))\.[A-Za-z0-9_-]{43}", re.ASCII)


class Grant(msgspec.Struct, frozen=True, rename="camel"):
    """A grant and its expiry; until then it authorizes any client that has it."""

    grant: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Grant(expires_at={self.expires_at})"


class Grants:
    """Signs with the first key and accepts every key, so that keys can be rotated.

    A grant is `v1.<expiry in Unix milliseconds>.<HMAC-SHA256 in URL-safe base64>`. The signing
    keys are derived from the encryption keys with a separate label (HKDF, RFC 5869): a grant
    reveals nothing about tokens, and API keys can be changed without ending grants.
    """

    def __init__(
        self, keys: tuple[str, ...], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._keys = [_signing_key(base64.urlsafe_b64decode(key)) for key in keys]
        self._clock = clock

    def issue(self, lifetime_s: int) -> Grant:
        """Create a grant that expires after `lifetime_s`."""
        until_ms = int((self._clock() + timedelta(seconds=lifetime_s)).timestamp() * 1000)
        return Grant(_signed(f"v1.{until_ms}", self._keys[0]), _moment(until_ms))

    def expiry(self, grant: str) -> datetime | None:
        """Return a grant's expiry; None if it has expired or its signature is not ours."""
        match = _GRANT.fullmatch(grant)
        if match is None or not self._is_ours(grant, match["signed"]):
            return None
        until = _moment(int(match["until_ms"]))
        return until if self._clock() < until else None

    def _is_ours(self, grant: str, signed: str) -> bool:
        """Compare with every key's signature; the time does not depend on which one matches."""
        found = False
        for key in self._keys:
            found |= hmac.compare_digest(grant, _signed(signed, key))
        return found


def _signed(signed: str, key: bytes) -> str:
    signature = hmac.digest(key, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _signing_key(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_LABEL).derive(key)


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=unix_ms)
