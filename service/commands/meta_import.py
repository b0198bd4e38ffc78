"""Runs `participants import --from-meta` for a location: budget, pauses, progress."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from service.commands.conversations import (
    Account,
    Conversations,
    Found,
    StoppedError,
    TooManyPagesError,
)
from service.commands.meta import MetaReader, Page, describe_fault
from service.commands.output import DONE, INCOMPLETE, INTERRUPTED, CommandError, Meter, say
from service.commands.participants import Recorder, say_what_was_stored
from service.commands.signals import cancelled_by_signals
from service.errors import AccountFault, GraphError, SealError, UnavailableError
from service.graph.answers import APP_THROTTLE_CODES
from service.graph.budget import Budget, PauseBoard
from service.model.calls import APP_SCOPE, account_scope
from service.reasons import reason_of, why_token_ended
from service.settings import GraphSettings, secret_values
from service.store.checkup import CheckedConnection, Checkup
from service.store.conversations import BUSY, ConversationLimits, ConversationNames, Slot
from service.store.database import Database
from service.store.journal import Journal
from service.store.pauses import Pause, Pauses
from service.store.slots import Slots
from service.vault import Vault
from service.wording import count, duration, printable, shell_word

CALL_EVERY_S = 0.5  # Meta: 2 calls a second an account to the Conversations API
SHORT_PAUSE_S = 120.0


class PausedError(Exception):
    """Calls for an account are paused for too long to wait."""

    def __init__(self, pause: Pause) -> None:
        super().__init__(pause.reason)
        self.pause = pause


class Gate:
    """Limits the calls of one account: 2 a second, inside the budget, none during a pause."""

    def __init__(
        self,
        ig_account_id: str,
        slots: Slots,
        limits: ConversationLimits,
        pauses: Pauses,
        checkup: Checkup,
        meter: Meter,
    ) -> None:
        self._ig_account_id = ig_account_id
        self._limits = limits
        self._pauses = pauses
        self._checkup = checkup
        self._meter = meter
        self._board = PauseBoard()
        self._next_at = 0.0
        self._is_probe = False
        self._budget = Budget(slots, pauses, self._board, self._slow_down)

    async def allow(self) -> None:
        """Return when a call is allowed; raises PausedError if that is not soon."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._next_at - loop.time()))
            await self._wait_for_slot()
            slot = await self._budget.wait_for_slot(self._ig_account_id)
            self._board.replace(await self._pauses.read())
            if slot is not None and slot.paused_by is None:
                self._is_probe = slot.is_probe
                if self._is_probe or not self._board.is_paused(self._ig_account_id):
                    self._next_at = loop.time() + CALL_EVERY_S
                    return
            await self._sit_out()

    async def on_page(self, page: Page) -> None:
        """Apply an answer for all replicas: slow down, pause, or end a pause."""
        fault = page.fault
        if fault is None and self._is_probe:
            await self._checkup.end_expired_pauses(self._ig_account_id)
        if isinstance(fault, AccountFault) and fault.problem.reason == "throttled":
            is_app = fault.problem.code in APP_THROTTLE_CODES
            scope = APP_SCOPE if is_app else account_scope(self._ig_account_id)
            await self._pauses.pause(scope, "throttled", fault.hold_s)
        self._budget.note_usage(self._ig_account_id, page.usage)
        await self._budget.act_on_usage(self._ig_account_id)

    async def _wait_for_slot(self) -> None:
        """Wait for one of the account's 2 calls a second, which the service's own calls share.

        If those are paused, the import calls nevertheless.
        """
        while (slot := await self._limits.take_slot(self._ig_account_id)) == BUSY:  # noqa: ASYNC110
            await asyncio.sleep(CALL_EVERY_S)
        if isinstance(slot, Slot):
            await asyncio.sleep(max(0.0, slot.wait_s))

    def _slow_down(self, _: str, seconds: float) -> None:
        self._next_at = max(self._next_at, asyncio.get_running_loop().time() + seconds)

    async def _sit_out(self) -> None:
        """Wait until a short pause ends; raises PausedError for a long one."""
        scopes = (APP_SCOPE, account_scope(self._ig_account_id))
        pauses = [pause for pause in self._board.listed if pause.scope in scopes]
        if not pauses:
            return
        longest = max(pauses, key=lambda pause: pause.left_s)
        if longest.left_s > SHORT_PAUSE_S:
            raise PausedError(longest)
        self._meter.note(f"paused ({longest.reason}): going on in {duration(longest.left_s)}")
        await asyncio.sleep(longest.left_s + 0.1)


class MetaImport:
    """One import of a location's conversations."""

    def __init__(
        self,
        settings: GraphSettings,
        database: Database,
        meta: MetaReader,
        meter: Meter,
        days: int,
    ) -> None:
        rules = settings.rules
        self._journal = Journal(database, rules)
        self.recorder = Recorder(self._journal, {})
        self._vault = Vault(secret_values(settings.token_encryption_keys))
        self._slots = Slots(database, 1 / settings.graph_calls_per_second)
        self._database = database
        self._checkup = Checkup(database, rules)
        self._pauses = Pauses(database)
        self._meta = meta
        self._meter = meter
        self._now = datetime.now(UTC)
        self._since = self._now - timedelta(days=days)
        self._conversations = 0
        self._unclear = 0
        self._limits = ConversationLimits(database)
        self._names = ConversationNames(database, rules) if settings.conversation_names else None
        self._named = 0

    async def run(self, location_id: str) -> bool:
        """Read every account of a location; false if one was not read to the end."""
        connections = await self._checkup.read_connections(location_id)
        if not connections:
            raise CommandError(
                f"No connection belongs to the location {printable(location_id)!r}: "
                "`connections list` shows which locations there are."
            )
        self.recorder = Recorder(self._journal, await self._checkup.read_directory())
        finished = [await self._account(connection) for connection in connections]
        return all(finished)

    async def _account(self, connection: CheckedConnection) -> bool:
        account = connection.ig_account_id
        try:
            token = self._vault.open(connection.access_token, account)
            await self._read(connection, Account(account, connection.login, token))
        except SealError as error:
            self._meter.note(f"Account {account}: {error}.")
        except TooManyPagesError as error:
            self._meter.note(f"Account {account}: {_endless(error)}")
        except StoppedError as error:
            self._meter.note(f"Account {account}: {explain(error.fault, connection)}")
        except PausedError as error:
            self._meter.note(f"Account {account}: {_paused(error.pause, connection)}")
        else:
            return True
        return False

    async def _read(self, connection: CheckedConnection, account: Account) -> None:
        gate = Gate(
            account.ig_account_id,
            self._slots,
            self._limits,
            self._pauses,
            self._checkup,
            self._meter,
        )
        conversations = Conversations(
            self._meta,
            account,
            frozenset({connection.ig_account_id, *connection.alias_ids}),
            self._since,
            self._now,
            gate.allow,
            gate.on_page,
        )
        async for found in conversations.pages():
            await self.recorder.store(found.participants)
            if self._names is not None and found.usernames:
                self._named += await self._names.add(found.usernames)
            self._show(account, found)
        if conversations.other_own_ids:
            self._meter.note(_other_ids(connection, conversations.other_own_ids))

    def _show(self, account: Account, found: Found) -> None:
        self._conversations += len(found.participants) + found.unclear
        self._unclear += found.unclear
        oldest = min((p.last_at for p in found.participants), default=None)
        back_to = f", back to {oldest:%Y-%m-%d %H:%M} UTC" if oldest else ""
        self._meter.show(
            f"account {account.ig_account_id}: {count(self._conversations, 'conversation')}"
            f"{back_to}, {count(self.recorder.stored, 'participant')} stored, "
            f"{self._named:,} named"
        )

    def sum_up(self, *, is_whole: bool = True) -> None:
        """Print what has been stored."""
        say_what_was_stored(self.recorder, is_whole=is_whole)
        if self._named:
            say(f"{count(self._named, 'user')} named from the conversations at once.")
        if self._unclear:
            say(f"{count(self._unclear, 'conversation')} left out: not clear who the user is.")


async def import_from_meta(settings: GraphSettings, location_id: str, days: int) -> int:
    """Run the command; returns the exit code: 1 if an account was not read to the end."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.connect(settings.dsn, pool_size=2))
        meta = await stack.enter_async_context(MetaReader.open(settings))
        meter = stack.enter_context(Meter("import from Meta", sys.stderr))
        work = MetaImport(settings, database, meta, meter, days)
        received = stack.enter_context(cancelled_by_signals())
        try:
            is_whole = await work.run(location_id)
        except asyncio.CancelledError:
            if not received:
                raise
            work.sum_up(is_whole=False)
            say("Interrupted. What is stored stays; you can run the same import again.")
            return INTERRUPTED
        except UnavailableError as error:
            work.sum_up(is_whole=False)
            raise CommandError(f"PostgreSQL does not answer ({error}). See DATABASE_URL.") from None
    work.sum_up()
    say(_next_step(location_id, days, is_whole=is_whole))
    return DONE if is_whole else INCOMPLETE


def explain(fault: GraphError, connection: CheckedConnection) -> str:
    """Explain what Meta's refusal means and what to do."""
    problem, reason = fault.problem, reason_of(fault.problem.reason)
    advice = reason.advise(connection.ig_account_id, connection.location_id)
    if problem.reason == "token_invalid":
        return f"the access token is dead: {why_token_ended(problem.subcode)}. {advice}"
    if problem.reason == "permission":
        return (
            "Meta does not let this token read conversations: it needs instagram_manage_messages "
            "(with a Facebook login also pages_manage_metadata). `doctor` shows what is missing."
        )
    if problem.reason == "throttled":
        return f"{reason.words}. Run the same import again later."
    return f"{reason.words}: {describe_fault(fault)}. {advice}"


def _endless(error: TooManyPagesError) -> str:
    why = "the last ones had no new users" if error.is_repetition else "this is the limit"
    read = f"stopped after {count(error.pages, 'page')} of conversations: {why}"
    return f"{read}. Meta has more pages; a smaller --days needs fewer."


def _paused(pause: Pause, connection: CheckedConnection) -> str:
    reason = reason_of(pause.reason)
    advice = reason.advise(connection.ig_account_id, connection.location_id)
    until = "" if pause.left_s > 10 * 86_400 else f" for another {duration(pause.left_s)}"
    return f"calls are paused{until}: {reason.words}. {advice}"


def _other_ids(connection: CheckedConnection, ids: set[str]) -> str:
    return (
        f"Meta calls the account {connection.ig_account_id} {', '.join(sorted(ids))} in its "
        "conversations. Store that as its alias, or the account can appear as a user: "
        f"connections add {shell_word(connection.ig_account_id)} --location "
        f"{shell_word(connection.location_id)} --alias {' --alias '.join(sorted(ids))}"
    )


def _next_step(location_id: str, days: int, *, is_whole: bool) -> str:
    if not is_whole:
        return "Not every conversation was read: see above. You can run the same import again."
    return (
        "A running service fetches their profiles and pictures from now on. To watch it: "
        f"python -m service backfill --location {shell_word(location_id)} --days {days}"
    )
