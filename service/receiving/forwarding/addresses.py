"""Forward addresses, and their names in tables, logs and metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from urllib.parse import urlsplit


def name_addresses(urls: Iterable[str]) -> dict[str, str]:
    """Map the public name of each address to its URL."""
    return {address_name(url): url for url in urls}


def address_name(url: str) -> str:
    """Return an address without its possibly secret parts: user, password and query.

    URLs that differ only in these parts get different names: a short hash of the URL is added.
    """
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    name = f"{parts.scheme}://{host}{port}{parts.path}"
    if not (parts.query or parts.username or parts.password):
        return name
    return f"{name}#{hashlib.sha256(url.encode()).hexdigest()[:8]}"
