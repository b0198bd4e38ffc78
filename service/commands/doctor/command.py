"""`doctor`: checks one location or all, in the four steps of docs/operations.md.

Every read is bounded in rows and in time. A failed read is a finding; the other checks still run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import msgspec

from service.accounts.token_watch import TokenWatch
from service.commands.api import OperatorApi
from service.commands.doctor.cache import check_backfill, check_cache
from service.commands.doctor.errors import check_recent_errors, check_service
from service.commands.doctor.findings import Finding, Step, diagnose, tell
from service.commands.doctor.meta import MetaCheck
from service.commands.doctor.names import check_names
from service.commands.meta import MetaReader
from service.commands.output import say_json
from service.errors import UnavailableError
from service.model.calls import APP_SCOPE
from service.settings import DoctorSettings, secret_values
from service.store.checkup import CheckedConnection, Checkup
from service.store.database import Database
from service.store.identities import Identities
from service.store.pauses import Pauses
from service.store.recent import Recent
from service.store.tokens import Tokens
from service.vault import Vault
from service.wording import count, printable

BACKFILL_DAYS = 7
MOST_LOCATIONS = 20
META_TIMEOUT_S = 5.0


async def doctor(
    settings: DoctorSettings, url: str | None, location_id: str | None, *, as_json: bool
) -> int:
    """Run the command; returns the exit code: 0 healthy, 1 warnings, 2 broken."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(OperatorApi.open(settings, url))
        asked = asyncio.create_task(check_service(api))
        stack.callback(asked.cancel)
        found = await _check_tables(settings, location_id, stack)
        findings = [*await asked, *found]
    diagnosis = diagnose(datetime.now(UTC), location_id, findings)
    if as_json:
        say_json(diagnosis)
    else:
        tell(diagnosis)
    return diagnosis.exit_code


async def _check_tables(
    settings: DoctorSettings, location_id: str | None, stack: AsyncExitStack
) -> list[Finding]:
    try:
        database = await stack.enter_async_context(Database.connect(settings.dsn, pool_size=2))
        meta = await stack.enter_async_context(MetaReader.open(settings, META_TIMEOUT_S))
        return await Doctor(settings, database, meta, location_id).run()
    except UnavailableError as error:
        return [_no_postgres(error)]


class Doctor:
    """The checks that need the tables."""

    def __init__(
        self,
        settings: DoctorSettings,
        database: Database,
        meta: MetaReader,
        location_id: str | None,
    ) -> None:
        rules = settings.rules
        self._location_id = location_id
        self._rate = settings.graph_calls_per_second
        self._checkup = Checkup(database, rules)
        self._identities = Identities(database, rules)
        self._pauses = Pauses(database)
        self._recent = Recent(database)
        vault = Vault(secret_values(settings.token_encryption_keys))
        self._token_watch = TokenWatch(Tokens(database), seals=settings.seal_tokens)
        self._meta = MetaCheck(
            meta,
            self._checkup,
            vault,
            settings.meta_app_id,
            settings.graph_calls_per_second,
            datetime.now(UTC),
        )

    async def run(self) -> list[Finding]:
        """Run the steps; raises UnavailableError if the first read fails."""
        connections = await self._checkup.read_connections(self._location_id)
        if not connections:
            return [_no_connections(self._location_id)]
        pauses = await self._pauses.read()
        app_pause = next((p.reason for p in pauses if p.scope == APP_SCOPE), None)
        findings = await self._names()
        findings += await self._users(len(connections), is_app_paused=app_pause is not None)
        findings += await self._backfill(connections, is_app_paused=app_pause is not None)
        try:
            findings += await self._meta.run(connections, app_pause)
        except UnavailableError as error:
            findings.append(_unread(2, "what Meta says of the tokens", error))
        return findings

    async def _names(self) -> list[Finding]:
        try:
            figures = await self._recent.read(self._location_id)
            warnings = await self._token_watch.read(self._location_id)
            return check_names(msgspec.structs.replace(figures, token_warnings=warnings))
        except UnavailableError as error:
            return [_unread(1, "who wrote within the last hour", error)]

    async def _users(self, accounts: int, *, is_app_paused: bool) -> list[Finding]:
        try:
            groups = await self._checkup.read_users(self._location_id, accounts)
        except UnavailableError as error:
            return [_unread(step, "the users' state", error) for step in (1, 3)]
        users = sum(group.users for group in groups)
        return [
            *check_recent_errors(groups, users),
            *check_cache(groups, self._location_id, is_app_paused=is_app_paused),
        ]

    async def _backfill(
        self, connections: Sequence[CheckedConnection], *, is_app_paused: bool
    ) -> list[Finding]:
        locations = sorted({connection.location_id for connection in connections})
        open_ones = {c.location_id for c in connections if c.is_callable and not is_app_paused}
        findings: list[Finding] = []
        try:
            for location_id in locations[:MOST_LOCATIONS]:
                is_paused = location_id not in open_ones
                findings += await self._candidates(location_id, is_paused=is_paused)
        except UnavailableError as error:
            findings.append(_unread(4, "which users a backfill would find", error))
        if len(locations) > MOST_LOCATIONS:
            more = count(
                len(locations) - MOST_LOCATIONS, "other location was", "other locations were"
            )
            findings.append(Finding(4, "note", f"{more} not checked.", "Name one with --location."))
        return findings

    async def _candidates(self, location_id: str, *, is_paused: bool) -> list[Finding]:
        within = timedelta(days=BACKFILL_DAYS)
        usual, failed = [
            await self._identities.find_candidates(location_id, within, 1, include_failed=failed)
            for failed in (False, True)
        ]
        return check_backfill(
            location_id, usual.total, failed.total, self._rate, is_paused=is_paused
        )


def _no_postgres(error: UnavailableError) -> Finding:
    text = f"PostgreSQL does not answer ({error}); steps 2 to 4 need it."
    advice = (
        "Bring it back, or correct DATABASE_URL. Meta repeats deliveries for a while, but not for "
        "ever."
    )
    return Finding(1, "broken", text, advice)


def _no_connections(location_id: str | None) -> Finding:
    if location_id is None:
        text = "No account is connected yet, so nobody can get a name."
        return Finding(2, "broken", text, "connections add ACCOUNT --location LOCATION")
    text = f"No connection belongs to the location {printable(location_id)}."
    advice = "`connections list` shows all connections; `connections add` makes one."
    return Finding(2, "broken", text, advice)


def _unread(step: Step, what: str, error: UnavailableError) -> Finding:
    text = f"PostgreSQL did not tell {what} in time ({error})."
    return Finding(step, "broken", text, "See how busy PostgreSQL is, then run doctor again.")
