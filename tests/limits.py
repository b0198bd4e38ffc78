"""Production's time limits, raised for tests: that a machine is busy is no fault.

Pools are smaller than in production: opening ten sessions costs more than most tests do.

A test whose subject is a limit asks for the fixture `production_limits`; a fork for
`has_production_limits`.
"""

from typing import Any

import pytest

from service.accounts import token_checks
from service.http import health
from service.http import pictures as picture_route
from service.receiving.intake import broker
from service.store import journal, outbox
from service.store.database import POOL_SIZE, Database
from service.store.listener import Listener

RAISED_S = 60.0
SMALL_POOL = 3
_CONSTANTS = (
    (token_checks, "SOON_S"),  # so that no check takes an answer that a test has scripted
    (journal, "DURABLE_WITHIN_S"),
    (outbox, "STORED_WITHIN_S"),
    (broker, "DURABLE_WITHIN_S"),
    (health, "_PING_S"),
    (picture_route, "COPIED_WITHIN_S"),
)
_ARGUMENTS: tuple[tuple[Any, str], ...] = (
    (Database.fetch, "timeout_s"),
    (Database.check_writable, "timeout_s"),
    (Database.transaction.__wrapped__, "timeout_s"),  # type: ignore[attr-defined]
    (Listener.__init__, "heard_within_s"),
)
_OPEN_POOL = Database.connect.__func__.__wrapped__  # type: ignore[attr-defined]
_PRODUCTION = (
    (_OPEN_POOL, "__defaults__", _OPEN_POOL.__defaults__),
    *((module, name, getattr(module, name)) for module, name in _CONSTANTS),
    *((function, "__defaults__", function.__defaults__) for function, _ in _ARGUMENTS),
    *((function, "__kwdefaults__", function.__kwdefaults__) for function, _ in _ARGUMENTS),
)


def raise_limits(patch: pytest.MonkeyPatch) -> None:
    """Give a minute to what has a second or two in production."""
    size, *others = _OPEN_POOL.__defaults__
    assert size == POOL_SIZE
    patch.setattr(_OPEN_POOL, "__defaults__", (SMALL_POOL, *others))
    for module, name in _CONSTANTS:
        assert 0 < getattr(module, name) < RAISED_S
        patch.setattr(module, name, RAISED_S)
    for function, argument in _ARGUMENTS:
        if argument in (function.__kwdefaults__ or {}):
            patch.setattr(
                function, "__kwdefaults__", function.__kwdefaults__ | {argument: RAISED_S}
            )
        else:
            assert len(function.__defaults__) == 1, f"{argument} is not the only default"
            patch.setattr(function, "__defaults__", (RAISED_S,))


def restore_limits(patch: pytest.MonkeyPatch) -> None:
    """Bring production's limits back."""
    for owner, name, value in _PRODUCTION:
        patch.setattr(owner, name, value)
