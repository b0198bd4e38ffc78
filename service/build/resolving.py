"""Builds the resolving half: the workers, their calls and the budget."""

from __future__ import annotations

import aiohttp

from service.build import Parts
from service.graph.budget import Budget
from service.graph.calls import GraphCaller, graph_caller
from service.graph.client import GraphClient
from service.graph.conversation import ConversationClient
from service.resolving.profile_calls import ProfileCalls
from service.resolving.second_source import SecondSource
from service.resolving.workers import Resolver, lease_for
from service.store.claims import Claims
from service.store.conversations import ConversationLimits, ConversationNames


def build_resolver(parts: Parts, session: aiohttp.ClientSession) -> Resolver:
    """Build the resolving half."""
    settings = parts.settings
    budget = parts.budget
    caller = graph_caller(settings, session, settings.graph_timeout_seconds)
    profiles = ProfileCalls(
        GraphClient(caller, budget.note_usage), budget, parts.vault, parts.metrics
    )
    lease = lease_for(budget.patience_s, settings.graph_timeout_seconds)
    return Resolver(
        parts.queue,
        Claims(parts.database, parts.rules, lease),
        ConversationNames(parts.database, parts.rules),
        _second_source(parts, caller, budget),
        budget,
        parts.board,
        profiles,
        parts.metrics,
        parts.pictures.offer,
        settings.graph_concurrency,
        settings.graph_calls_per_second,
    )


def _second_source(parts: Parts, caller: GraphCaller, budget: Budget) -> SecondSource | None:
    if not parts.settings.conversation_names:
        return None
    return SecondSource(
        ConversationClient(caller),
        ConversationLimits(parts.database),
        budget,
        parts.queue.hold,
        lambda outcome: parts.metrics.conversation_calls.labels(outcome).inc(),
    )
