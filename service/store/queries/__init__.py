"""The statements of the store, in files that psql can run.

Each file holds blocks that begin with `-- name: find_people`, comments on the parameters, and one
statement that ends with a semicolon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).parent
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def read_queries(family: str) -> Mapping[str, str]:
    """Read the statements of one file, by name; raises ValueError where two share a name."""
    text = (FOLDER / f"{family}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names = parts[::2]
    if len(set(names)) < len(names):
        raise ValueError(f"two statements of {family}.sql have the same name")
    return MappingProxyType(
        {name: sql.strip() for name, sql in zip(names, parts[1::2], strict=True)}
    )
