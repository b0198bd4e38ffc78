"""Encryption of stored access tokens: AES-256-GCM, bound to the account."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.errors import SealError

_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 bits
_MARK = "v1."
_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)
_SEALED = re.compile(r"v1\.(?P<key_id>[0-9a-f]{8})\.(?P<box>[A-Za-z0-9_-]+=*)", re.ASCII)


class Vault:
    """Seals with the first key and opens with any key, so keys can be rotated.

    A sealed token is `v1.<key id>.<URL-safe base64 of nonce and ciphertext>`; the account id is
    the associated data, so a token copied to another account's row cannot be opened.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        decoded = [base64.urlsafe_b64decode(key) for key in keys]
        self._ciphers = {_key_id(key): AESGCM(key) for key in decoded}
        self._first = _key_id(decoded[0])

    def __repr__(self) -> str:
        return f"Vault(keys={list(self._ciphers)})"

    def seal(self, token: str, ig_account_id: str) -> str:
        """Encrypt a token for one account."""
        nonce = os.urandom(_NONCE_BYTES)
        box = nonce + self._ciphers[self._first].encrypt(
            nonce, token.encode(), ig_account_id.encode()
        )
        return f"v1.{self._first}.{base64.urlsafe_b64encode(box).decode()}"

    def open(self, stored: str, ig_account_id: str) -> str:
        """Return the token of a row, decrypted if it is sealed, and trimmed.

        Raises SealError if no key opens it, if it belongs to another account, or if it cannot be a
        token.
        """
        if not stored.startswith(_MARK):
            return _plain(stored)
        match = _SEALED.fullmatch(stored)
        if match is None:
            raise SealError("the stored token was cut off or changed")
        cipher = self._ciphers.get(match["key_id"])
        if cipher is None:
            raise SealError(f"no key in TOKEN_ENCRYPTION_KEYS has the id {match['key_id']}")
        try:
            box = base64.urlsafe_b64decode(match["box"])
            token = cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], ig_account_id.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise SealError("the stored token was changed or belongs to another account") from None
        return token.decode().strip()

    def has_older_seal(self, stored: str) -> bool:
        """Return whether a stored token is sealed with a key other than the first."""
        match = _SEALED.fullmatch(stored)
        return match is not None and match["key_id"] != self._first

    def is_sealed(self, stored: str) -> bool:
        """Return whether a stored token is sealed."""
        return stored.startswith(_MARK)


def _plain(stored: str) -> str:
    token = stored.strip()
    if not _TOKEN.fullmatch(token):
        raise SealError("the stored token is empty or has characters that no token has")
    return token


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"key id" + key).hexdigest()[:8]
