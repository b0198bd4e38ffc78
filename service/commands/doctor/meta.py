"""Doctor's step 2: whether Meta accepts the tokens, their permissions, end and API version.

Source: Meta for Developers, "Graph API: Debug-Token", "Page: Subscribed Apps", "Instagram
Platform: Webhooks", "Graph API: Platform versioning".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from service.commands.doctor.errors import pause_severity
from service.commands.doctor.findings import Finding
from service.commands.doctor.token import (
    judge_permissions,
    judge_token,
    judge_token_fault,
    judge_version,
)
from service.commands.meta import MetaReader, Page, describe_fault
from service.errors import GraphError, NobodysFault, SealError
from service.reasons import reason_of
from service.store.checkup import CheckedConnection, Checkup
from service.vault import Vault
from service.wording import count, printable

MOST_ASKED = 20
MOST_WAIT_S = 15.0
INSTAGRAM_TOKEN_DAYS = 60  # "Access tokens": long-lived Instagram user tokens
_OTHER_NODE_CODES = frozenset({100, 803, 2500})
_STOP_AFTER_SILENCES = 2
ENDLESS_FROM_YEAR = 9000
INVALID = "invalid"  # a connection whose token Meta has refused


class MetaCheck:
    """Asks Meta about the tokens of some accounts: two calls each, inside the budget."""

    def __init__(
        self,
        meta: MetaReader,
        checkup: Checkup,
        vault: Vault,
        app_id: str,
        calls_per_second: float,
        now: datetime,
    ) -> None:
        self._meta = meta
        self._checkup = checkup
        self._vault = vault
        self._app_id = app_id
        self._rate = calls_per_second
        self._now = now
        self._silences = 0
        self._version = ""

    async def run(
        self, connections: Sequence[CheckedConnection], app_pause: str | None
    ) -> list[Finding]:
        """Check the first 20 accounts, those with problems first."""
        findings: list[Finding] = []
        for connection in connections[:MOST_ASKED]:
            found = await self._account(connection, app_pause)
            findings += [*_stored(connection, found), *found]
        if self._version:
            findings.append(judge_version(self._meta.caller.version, self._version))
        findings += self._plain(connections)
        if connections and connections[0].total > MOST_ASKED:
            more = connections[0].total - MOST_ASKED
            text = f"{count(more, 'other account was', 'other accounts were')} not checked."
            findings.append(Finding(2, "note", text, "Name one location with --location."))
        return findings

    def _plain(self, connections: Sequence[CheckedConnection]) -> list[Finding]:
        """Report the accounts whose token another application stores unencrypted."""
        plain = [
            connection.ig_account_id
            for connection in connections
            if connection.access_token and not self._vault.is_sealed(connection.access_token)
        ]
        if not plain:
            return []
        named = ", ".join(plain[:MOST_ASKED]) + (", …" if len(plain) > MOST_ASKED else "")
        text = f"{count(len(plain), 'token is', 'tokens are')} stored without encryption: {named}."
        advice = (
            "They are used as they are, and left to the application that stores them. Where none "
            "has to read them: python -m service migrate --seal-tokens"
        )
        return [Finding(2, "note", text, advice, facts={"plain": plain})]

    async def _account(self, connection: CheckedConnection, app_pause: str | None) -> list[Finding]:
        account = connection.ig_account_id
        try:
            token = self._vault.open(connection.access_token, account)
        except SealError as error:
            text = f"Account {account}: its token can't be read: {error}."
            advice = "Put the missing key back into TOKEN_ENCRYPTION_KEYS, or store a new token."
            return [Finding(2, "broken", text, advice, account)]
        if "throttled" in (app_pause, connection.pause_reason):
            text = f"Account {account}: Meta was not asked, since calls now would prolong a limit."
            return [Finding(2, "note", text, "Run doctor again when the pause is over.", account)]
        if self._silences >= _STOP_AFTER_SILENCES:
            text = f"Account {account}: Meta was not asked, since it did not answer before."
            return [Finding(2, "note", text, None, account)]
        return await self._ask(connection, token)

    async def _ask(self, connection: CheckedConnection, token: str) -> list[Finding]:
        account, login = connection.ig_account_id, connection.login
        asker = self._meta.caller.app_token(self._app_id) if self._app_id else token
        page = await self._get(login, "debug_token", asker, input_token=token)
        if page is None:
            text = f"Account {account}: the budget is used up, so Meta was not asked."
            return [Finding(2, "note", text, "Run doctor again later.", account)]
        if page.fault is not None:
            as_app = bool(self._app_id)
            findings = [judge_token_fault(connection, page.fault, as_app=as_app)]
            debug: dict[str, Any] = {}
        else:
            found = page.body.get("data")
            debug = found if isinstance(found, dict) else {}
            findings = judge_token(connection, debug, self._now)
            findings += judge_permissions(connection, debug)
        findings += _age(connection, debug, self._now)
        if any(finding.severity == "broken" for finding in findings):
            return findings
        return findings + await self._subscription(connection, token, debug)

    async def _subscription(
        self, connection: CheckedConnection, token: str, debug: dict[str, Any]
    ) -> list[Finding]:
        page = await self._get(
            connection.login, f"{connection.ig_account_id}/subscribed_apps", token
        )
        if page is not None and page.fault and page.fault.problem.code in _OTHER_NODE_CODES:
            page = await self._get(connection.login, "me/subscribed_apps", token)
        if page is None:
            return []
        return [judge_subscription(connection, page, str(debug.get("app_id", "") or self._app_id))]

    async def _get(self, login: str, path: str, token: str, **query: str) -> Page | None:
        """Ask for a page; None if the budget has no slot soon."""
        if not await self._slot():
            return None
        page = await self._meta.get(login, path, token, **query)
        self._version = page.version or self._version
        self._silences = self._silences + 1 if isinstance(page.fault, NobodysFault) else 0
        return page

    async def _slot(self) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MOST_WAIT_S
        while loop.time() < deadline:
            wait_s = await self._checkup.take_slot(self._rate)
            if wait_s is not None:
                await asyncio.sleep(min(MOST_WAIT_S, max(0.0, wait_s)))
                return wait_s <= MOST_WAIT_S
            await asyncio.sleep(0.2)
        return False


def judge_subscription(connection: CheckedConnection, page: Page, app_id: str) -> Finding:
    """Report whether Meta sends the account's webhooks to this app."""
    account = connection.ig_account_id
    if page.fault is not None:
        return _subscription_fault(connection, page.fault)
    rows = page.body.get("data")
    apps = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    ours = [app for app in apps if not app_id or str(app.get("id", app_id)) == app_id]
    if not ours:
        text = f"Account {account}: this app is not subscribed, so Meta sends it no messages."
        advice = (
            f"Subscribe it: POST /{{page or account id}}/subscribed_apps with "
            f"subscribed_fields=messages (app dashboard: Webhooks). Then `participants import "
            f"--from-meta --location {printable(connection.location_id)}` brings back who wrote "
            "meanwhile."
        )
        return Finding(2, "broken", text, advice, account)
    fields = [str(f) for app in ours for f in app.get("subscribed_fields") or []]
    listed = printable(", ".join(fields[:8]))
    text = (
        f"Account {account}: Meta sends its webhooks to this app ({listed or 'no fields named'})."
    )
    if connection.login == "instagram" and fields and "messages" not in fields:
        advice = "Subscribe the field `messages` for this account."
        return Finding(2, "broken", text[:-1] + ", but not messages.", advice, account)
    return Finding(2, "ok", text, None, account, {"subscribedFields": fields})


def _subscription_fault(connection: CheckedConnection, fault: GraphError) -> Finding:
    account, problem = connection.ig_account_id, fault.problem
    said = f"; Meta says: “{printable(problem.message)[:200]}”" if problem.message else ""
    what = f"Account {account}: whether Meta sends its webhooks here could not be read"
    text = f"{what}, {describe_fault(fault)}{said}."
    if problem.reason == "token_invalid":
        advice = reason_of("token_invalid").advise(account, connection.location_id)
        return Finding(2, "broken", text, advice, account)
    advice = reason_of(problem.reason).advice
    return Finding(2, "warning", text, advice, account)


def _stored(connection: CheckedConnection, found: Sequence[Finding]) -> list[Finding]:
    """Report the stored problems of an account that Meta's answers did not show."""
    account, location_id = connection.ig_account_id, connection.location_id
    name = "token_invalid" if connection.token_status == INVALID else connection.pause_reason
    is_dead = name == "token_invalid"
    if name is None or (is_dead and any(each.severity == "broken" for each in found)):
        return []
    reason = reason_of(name)
    text = f"Account {account} of location {printable(location_id)} is not called"
    if connection.paused_until is not None and connection.paused_until.year < ENDLESS_FROM_YEAR:
        text += f" until {connection.paused_until:%d %B %H:%M} UTC"
    text += f" ({name}): {reason.words}."
    advice = reason.advise(account, location_id)
    if is_dead and any(f.severity == "ok" and "expiresAt" in f.facts for f in found):
        text += " Meta accepts the stored token again, though."
        advice = f"Store the same token once more: connections add {account} --location "
        advice += printable(location_id)
    return [Finding(2, pause_severity(name), text, advice, account)]


def _age(connection: CheckedConnection, debug: dict[str, Any], now: datetime) -> list[Finding]:
    """Warn of an Instagram token's end if Meta does not give it: they are valid for 60 days."""
    age = now - connection.updated_at
    is_reported = bool(debug.get("expires_at"))
    if (
        connection.login != "instagram"
        or is_reported
        or age < timedelta(days=INSTAGRAM_TOKEN_DAYS - 10)
    ):
        return []
    account = connection.ig_account_id
    text = (
        f"Account {account}: its Instagram token was stored {age.days} days ago, and such tokens "
        f"end {INSTAGRAM_TOKEN_DAYS} days after they were made or refreshed."
    )
    advice = "Refresh it at Meta and store it with `connections add`."
    return [Finding(2, "warning", text, advice, account)]
