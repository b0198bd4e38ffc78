"""Encryption of stored delivery bodies: AES-256-GCM with a separate key for each delivery.

The key is derived from a configured key and the delivery's id (HKDF, RFC 5869), so a key never
encrypts more than the number of messages that NIST SP 800-38D, 8.3 allows.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.errors import SealError

_KEY_ID_BYTES = 4
_NONCE = bytes(12)  # each key encrypts one message


class BodySeal:
    """Seals with the first key and opens with any key, so keys can be rotated."""

    def __init__(self, keys: Sequence[str]) -> None:
        decoded = [base64.urlsafe_b64decode(key) for key in keys]
        self._keys = {_key_id(key): key for key in decoded}
        self._first = _key_id(decoded[0])

    def seal(self, body: bytes, delivery_id: str) -> bytes:
        """Encrypt a delivery's body; the result starts with the key's id."""
        return self._first + self._cipher(self._first, delivery_id).encrypt(_NONCE, body, None)

    def open(self, sealed: bytes, delivery_id: str) -> bytes:
        """Decrypt a delivery's body; raises SealError if no configured key can decrypt it."""
        key_id, box = sealed[:_KEY_ID_BYTES], sealed[_KEY_ID_BYTES:]
        if key_id not in self._keys:
            raise SealError(f"no key in TOKEN_ENCRYPTION_KEYS has the id {key_id.hex()}")
        try:
            return self._cipher(key_id, delivery_id).decrypt(_NONCE, box, None)
        except InvalidTag:
            raise SealError("the stored body was changed or belongs to another delivery") from None

    def _cipher(self, key_id: bytes, delivery_id: str) -> AESGCM:
        info = b"forwarded delivery " + delivery_id.encode()
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
        return AESGCM(derived.derive(self._keys[key_id]))


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"key id" + key).digest()[:_KEY_ID_BYTES]
