"""What one item costs as the tables grow: flat lines are what it should show."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

import asyncpg

from benchmarks.findings import Findings, Scale
from benchmarks.world import ACCOUNT
from service.model import Contact, Profile, Rules
from service.store.claims import Claim, Claims, Taken
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.world import Ours, World

_BATCH = 50
_REPEATS = 40
_LEASE = timedelta(seconds=30)
