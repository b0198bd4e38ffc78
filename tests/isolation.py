"""Tests do not depend on the settings of the developer who runs them."""

import os
import re
from collections.abc import Iterator

from service.settings import Settings, _Environment

_OTHERS = ("SERVICE_URL", "PG[A-Z_]+")
_HIDDEN = re.compile("|".join((*(f"{n.upper()}(_FILE)?" for n in Settings.model_fields), *_OTHERS)))


def hide_settings() -> None:
    """Remove our settings and libpq's from this process's environment, and read no `.env`."""
    for name in [name for name in os.environ if _HIDDEN.fullmatch(name)]:
        del os.environ[name]
    for settings in _kinds_of(_Environment):
        settings.model_config["env_file"] = None


def _kinds_of(base: type[_Environment]) -> Iterator[type[_Environment]]:
    yield base
    for settings in base.__subclasses__():
        yield from _kinds_of(settings)
