"""The verdict: a pure function from figures to a level and sentences.

`/status`, the console, `doctor`, a metric and an alert show it. It is not about running processes:
it measures the share of recent writers who have a name, and why the others have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from service.judgement.figures import (
    MOST_HELD,
    NO_REASON,
    AccountWriters,
    Figures,
    PauseFigure,
    Writers,
)
from service.judgement.likely import likely_cause
from service.model.calls import APP_SCOPE
from service.reasons import reason_of
from service.wording import count, duration, printable

Level = Literal["ok", "attention", "broken"]

LEVELS: tuple[Level, ...] = ("ok", "attention", "broken")
NONE_NAMED_FROM = 5  # this many people without a name, and none with one, is broken for any reason
NONE_NAMED_WATCHED_FROM = 3
MANY_NAMELESS_FROM, MANY_NAMELESS_SHARE = 5, 0.5
LONG_WAIT_S = 60.0
MOST_CAUSES = 20
CAN_WAIT = frozenset({"throttled", "outage", "no_connection"})


class Cause(msgspec.Struct, frozen=True, rename="camel"):
    """One problem: what is wrong, the likely cause, what to do, and the command for it."""

    level: Level
    text: str
    likely: str | None = None
    cure: str | None = None
    command: str | None = None
    reason: str | None = None
    ig_account_id: str | None = None
    location_id: str | None = None

    @property
    def sentence(self) -> str:
        """The whole cause on one line."""
        parts = [self.text, self.likely, self.cure]
        return " ".join(part for part in parts if part)


class Verdict(msgspec.Struct, frozen=True, rename="camel"):
    """The level and the causes, the worst first."""

    level: Level
    sentences: list[str]
    causes: list[Cause]


_POSTGRES_DOWN = Cause(
    "broken",
    "PostgreSQL does not answer: lookups are refused and nobody gets a name.",
    cure="Restore it; the service then resumes. The figures are the last known ones.",
)
_BROKER_DOWN = Cause(
    "broken",
    "The broker does not answer: webhooks are refused, and Meta sends them again.",
    cure="Restore the broker that INTAKE_URL names; replicas reconnect automatically.",
)
_NOTHING_CONNECTED = Cause(
    "attention",
    "No account is connected yet, so nobody can get a name.",
    cure="Connect one.",
    command="python -m service connections add ACCOUNT --location LOCATION",
)


def judge(figures: Figures) -> Verdict:
    """Judge how many people get a name, and what to do about the others."""
    found = [
        *_machinery(figures),
        *_pauses(figures),
        *_accounts(figures),
        *_waiting(figures),
        *_tokens(figures),
    ]
    found.sort(key=lambda cause: -LEVELS.index(cause.level))
    level = found[0].level if found else "ok"
    sentences = [cause.sentence for cause in found[:MOST_CAUSES]]
    if len(found) > MOST_CAUSES:
        sentences.append(f"{count(len(found) - MOST_CAUSES, 'more thing')} to look at.")
    if level == "ok":
        sentences.insert(0, _all_is_well(figures))
    return Verdict(level, sentences, found[:MOST_CAUSES])


def account_level(writers: Writers) -> Level:
    """Judge an account by its recent writers alone."""
    without, named = writers.without_name, writers.named
    if named == 0 and without >= NONE_NAMED_FROM:
        return "broken"
    if named == 0 and without >= NONE_NAMED_WATCHED_FROM:
        return "attention"
    share = without / max(1, without + named)
    is_many = without >= MANY_NAMELESS_FROM and share >= MANY_NAMELESS_SHARE
    return "attention" if is_many else "ok"


def pause_level(reason: str) -> Level:
    """Return the level of a pause: "attention" if it ends by itself or can wait."""
    return "attention" if reason in CAN_WAIT else "broken"


def worst_first(accounts: Sequence[AccountWriters]) -> list[AccountWriters]:
    """Sort accounts by level and by the number of writers without a name."""
    return sorted(
        accounts,
        key=lambda a: (
            -LEVELS.index(account_level(a)),
            -a.without_name,
            -a.late,
            -a.wrote,
            a.ig_account_id,
        ),
    )


def name_account(ig_account_id: str, username: str | None, location_id: str | None) -> str:
    """Return an account's @username, else its id and location."""
    if username:
        return f"@{printable(username)}"
    where = f" ({printable(location_id)})" if location_id else ""
    return f"account {ig_account_id}{where}"


def _all_is_well(figures: Figures) -> str:
    writers = figures.everybody
    if figures.connected is None and not writers.wrote:
        return "Nobody has written within the last hour."
    if not writers.wrote:
        return "Nobody has written within the last hour, and nothing is known to be wrong."
    people = count(writers.wrote, "person who wrote", "people who wrote")
    return f"{writers.named:,} of the {people} within the last hour have a name."


def _machinery(figures: Figures) -> list[Cause]:
    causes = (
        (not figures.is_postgres_up, _POSTGRES_DOWN),
        (not figures.is_broker_up, _BROKER_DOWN),
        (figures.connected == 0, _NOTHING_CONNECTED),
    )
    return [cause for applies, cause in causes if applies]


def _pauses(figures: Figures) -> list[Cause]:
    wrote = {account.ig_account_id: account for account in figures.accounts}
    return [_pause(pause, wrote.get(pause.scope.partition(":")[2])) for pause in figures.pauses]


def _pause(pause: PauseFigure, writers: AccountWriters | None) -> Cause:
    account = pause.scope.partition(":")[2]
    reason = reason_of(pause.reason)
    if pause.scope == APP_SCOPE:
        what, location = "No account is called", None
    else:
        location = pause.location_id
        name = name_account(account, pause.username, location)
        what = f"{name[0].upper()}{name[1:]} is not called"
    until = f" until {pause.until:%d %B %H:%M} UTC" if pause.until else ""
    text = f"{what}{until} ({pause.reason}): {reason.words}.{_held(pause, writers)}"
    level = pause_level(pause.reason)
    if pause.reason == "no_connection" and writers:
        level = max(level, account_level(writers), key=LEVELS.index)
    return Cause(
        level,
        text,
        cure=reason.cure,
        command=reason.command_of(account, location),
        reason=pause.reason,
        ig_account_id=account or None,
        location_id=location,
    )


def _held(pause: PauseFigure, writers: AccountWriters | None) -> str:
    parts = []
    if pause.held:
        at_least = "At least " if pause.held >= MOST_HELD else ""
        parts.append(f"{at_least}{count(pause.held, 'person waits', 'people wait')}")
    if writers and (recent := writers.nameless.get(pause.reason, 0)):
        wrote = f"{writers.wrote:,} who wrote in the last hour"
        parts.append(f"{recent:,} of {wrote} have no name")
    return f" {'; '.join(parts)}." if parts else ""


def _accounts(figures: Figures) -> list[Cause]:
    """Judge recent failures by account, except those that a pause explains."""
    paused = {pause.reason for pause in figures.pauses if pause.scope == APP_SCOPE}
    return [
        _account(account, blamed)
        for account in worst_first(figures.accounts)
        if (blamed := _blamed(account, paused | _own_pause(account, figures.pauses)))
    ]


def _own_pause(account: AccountWriters, pauses: Sequence[PauseFigure]) -> set[str]:
    scope = f"account:{account.ig_account_id}"
    return {pause.reason for pause in pauses if pause.scope == scope}


def _blamed(account: AccountWriters, reported: set[str]) -> Writers | None:
    """Leave out the reasons already reported by a pause; None if nothing is left."""
    left = {reason: n for reason, n in account.nameless.items() if reason not in reported}
    return msgspec.structs.replace(account, nameless=left) if left else None


def _account(account: AccountWriters, blamed: Writers) -> Cause:
    reason = max(blamed.nameless, key=lambda name: blamed.nameless[name])
    without = blamed.without_name
    name = name_account(account.ig_account_id, account.username, account.location_id)
    cause = likely_cause(reason, blamed.nameless[reason], account.named)
    known = reason_of(reason)
    level = account_level(blamed)
    if known.is_of_account:
        level = max(level, pause_level(reason), key=LEVELS.index)
    return Cause(
        level,
        f"{_who(account, without, name)}: {_why(blamed)}.",
        likely=cause.likely,
        cure=cause.cure or known.cure,
        command=(cause.command or known).command_of(account.ig_account_id, account.location_id),
        reason=None if reason == NO_REASON else reason,
        ig_account_id=account.ig_account_id,
        location_id=account.location_id,
    )


def _who(account: AccountWriters, without: int, name: str) -> str:
    people = count(account.wrote, "person", "people")
    if account.named == 0 and without == account.wrote:
        none = "has no name" if without == 1 else "none has a name"
        return f"{people} wrote to {name} in the last hour and {none}"
    has = "has" if without == 1 else "have"
    return f"{without:,} of the {people} who wrote to {name} in the last hour {has} no name"


def _why(writers: Writers) -> str:
    """List each reason with its share, the most frequent first."""
    ordered = sorted(writers.nameless.items(), key=lambda item: -item[1])
    parts = []
    for reason, number in ordered:
        code = writers.codes.get(reason)
        words = reason_of(reason).of_people(number, is_all=number == writers.without_name)
        parts.append(f"{words} (code {code})" if code else words)
    return ", ".join(parts)


def _waiting(figures: Figures) -> list[Cause]:
    late, oldest_s = figures.everybody.late, figures.oldest_wait_s
    if not late and oldest_s <= LONG_WAIT_S:
        return []
    if figures.everybody.late:
        text = f"{count(late, 'person has', 'people have')} waited for a name for over a minute."
    else:
        text = f"A person in the queue has waited for a name for {duration(oldest_s)}."
    likely, cure = None, "Check that a replica runs, and read its log."
    if figures.queued and figures.calls_per_second:
        took = duration(max(1.0, figures.queued / figures.calls_per_second))
        likely = f"{figures.queued:,} wait in the queue, which takes about {took} at the budget's"
        likely += f" {figures.calls_per_second:g} calls a second."
        cure = "Wait, or raise GRAPH_CALLS_PER_SECOND as far as Meta's limits allow."
    is_stuck = figures.everybody.named == 0 and late >= NONE_NAMED_FROM and not figures.queued
    return [Cause("broken" if is_stuck else "attention", text, likely, cure)]


def _tokens(figures: Figures) -> list[Cause]:
    """List what to do about tokens, except dead ones, which their account's pause reports."""
    return [
        Cause(
            "broken" if warning.is_urgent else "attention",
            warning.sentence,
            cure=warning.advice,
            command=warning.command,
            reason="token_invalid",
            ig_account_id=warning.ig_account_id,
            location_id=warning.location_id,
        )
        for warning in figures.token_warnings
        if warning.kind != "dead"
    ]
