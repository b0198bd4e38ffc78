"""Builds the calls that ask Meta about tokens, and the token checks."""

from __future__ import annotations

import aiohttp

from service.accounts.token_checks import TokenChecker
from service.build import Parts
from service.graph.calls import graph_caller
from service.graph.tokens import TokenCalls

TOKEN_CALL_TIMEOUT_S = 5.0


def build_token_calls(parts: Parts, session: aiohttp.ClientSession) -> TokenCalls:
    """Build the calls that ask Meta about tokens."""
    caller = graph_caller(parts.settings, session, TOKEN_CALL_TIMEOUT_S)
    return TokenCalls(caller, parts.settings.meta_app_id)


def build_token_checker(parts: Parts, calls: TokenCalls) -> TokenChecker:
    """Build the task that checks and renews tokens."""
    seals = parts.settings.seal_tokens
    return TokenChecker(parts.tokens, calls, parts.budget, parts.vault, seals=seals)
