"""Reads values from the environment, `.env`, and the files that `NAME_FILE` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

_LONGEST_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Unreadable:
    """A value that cannot be read; a validator reports it with the other errors."""

    reason: str


class Environment(EnvSettingsSource):
    """The environment; `NAME_FILE` names a file that holds the value of `NAME`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value without surrounding blanks; a blank value counts as missing."""
        value, key, is_complex = super().get_field_value(field, field_name)
        return _value_or_file(value, field_name, self.env_vars), key, is_complex


class DotEnv(DotEnvSettingsSource, Environment):
    """`.env`, read by the same rules."""


def _value_or_file(
    value: str | None, field_name: str, variables: Mapping[str, str | None]
) -> str | Unreadable | None:
    value = (value or "").strip()
    path = (variables.get(f"{field_name}_file") or "").strip()
    if not path:
        return value or None
    if value:
        return Unreadable(f"is set twice, by {field_name.upper()}_FILE too")
    return _read_file(path, f"{field_name.upper()}_FILE")


def _read_file(path: str, name: str) -> str | Unreadable:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST_FILE_BYTES + 1)
        text = content.decode("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        return Unreadable(f"the file that {name} names cannot be read: {reason}")
    if len(content) > _LONGEST_FILE_BYTES:
        return Unreadable(f"the file that {name} names is larger than 1 MiB")
    return text or Unreadable(f"the file that {name} names is empty")
