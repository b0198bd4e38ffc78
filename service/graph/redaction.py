"""Removes secrets, and characters that PostgreSQL cannot store, from Graph answers."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from urllib.parse import unquote

STRUCK_OUT = "[token]"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\"\\/]))")  # as JSON does
_MOST_ENCODINGS = 4  # a URL inside JSON inside a URL, and one more


def clean(value: object, secrets: Sequence[str]) -> object:
    """Redact decoded JSON at every depth, keys too, and make it storable."""
    if isinstance(value, str):
        return clean_text(value, secrets)
    if isinstance(value, dict):
        return {clean_text(key, secrets): clean(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, secrets) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def clean_text(text: str, secrets: Sequence[str]) -> str:
    """Redact a text, and replace NUL and lone surrogates."""
    return _storable(redact(text, secrets))


def redact(text: str, secrets: Sequence[str]) -> str:
    """Redact secrets in a text, including URL-, HTML- and JSON-encoded ones.

    A text that contains an encoded secret is returned decoded.
    """
    text = _replace(text, secrets)
    if not any(mark in text for mark in "%\\&"):
        return text
    decoded = _decoded(text)
    return _replace(decoded, secrets) if any(secret in decoded for secret in secrets) else text


def _replace(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, STRUCK_OUT)
    return text


def _decoded(text: str) -> str:
    for _ in range(_MOST_ENCODINGS):
        plain = _ESCAPED.sub(lambda found: found[2] or chr(int(found[1], 16)), text)
        plain = unquote(html.unescape(plain))
        if plain == text:
            break
        text = plain
    return text


def _storable(text: str) -> str:
    return (
        text.replace("\0", _REPLACEMENT)
        .encode("utf-16", "surrogatepass")
        .decode("utf-16", "replace")
    )
