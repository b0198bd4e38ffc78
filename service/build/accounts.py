"""Builds the checks of tokens and the erasing of accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.accounts.leaving import AccountLeaver, Retention
from service.accounts.token_checks import TokenChecker
from service.accounts.token_watch import TokenWatch
from service.graph.calls import graph_caller
from service.graph.tokens import TokenCalls
from service.store.leaving import Leavings
from service.store.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import aiohttp

    from service.build import Parts
    from service.settings import Settings
    from service.store.database import Database
    from service.vault import Vault

TOKEN_CALL_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class AccountParts:
    """The stored tokens, their warnings, and what erases users."""

    tokens: Tokens
    token_watch: TokenWatch
    leaver: AccountLeaver
    retention: Retention


def build_accounts(
    settings: Settings,
    vault: Vault,
    database: Database,
    forget: Callable[[Sequence[str]], None],
) -> AccountParts:
    """Build what needs no start; `forget` clears this process's memory of users."""
    tokens, leavings = Tokens(database), Leavings(database)
    return AccountParts(
        tokens,
        TokenWatch(tokens, vault, seals=settings.seal_tokens),
        AccountLeaver(leavings, forget),
        Retention(leavings, forget, settings.retention_days),
    )


def build_token_calls(parts: Parts, session: aiohttp.ClientSession) -> TokenCalls:
    """Build the calls that ask Meta about tokens."""
    caller = graph_caller(parts.settings, session, TOKEN_CALL_TIMEOUT_S)
    return TokenCalls(caller, parts.settings.meta_app_id)


def build_token_checker(parts: Parts, calls: TokenCalls) -> TokenChecker:
    """Build the task that checks and renews tokens."""
    seals = parts.settings.seal_tokens
    return TokenChecker(parts.accounts.tokens, calls, parts.budget, parts.vault, seals=seals)
