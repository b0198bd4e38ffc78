"""Reads Graph API pages other than profiles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from service.errors import GraphError
from service.graph.answers import read_object
from service.graph.calls import GraphCaller, graph_caller, graph_session
from service.graph.usage import CONVERSATION_POOLS, Usage, read_usage
from service.settings import GraphSettings
from service.wording import printable

MOST_BODY_BYTES = 4 << 20
LIST_TIMEOUT_S = 10.0  # Meta is slower for lists than for profiles


class Page(msgspec.Struct, frozen=True):
    """An answer: its JSON object, or the fault.

    `version` is the API version that answered, empty if Meta did not send it.
    """

    body: dict[str, Any]
    fault: GraphError | None
    version: str
    usage: Usage


class MetaReader:
    """Reads pages; a failure is the page's `fault`, and nothing is logged."""

    def __init__(self, caller: GraphCaller) -> None:
        self.caller = caller

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: GraphSettings, timeout_s: float = LIST_TIMEOUT_S
    ) -> AsyncIterator[MetaReader]:
        """Open a reader with its own HTTP client."""
        async with graph_session(4) as session:
            yield cls(graph_caller(settings, session, timeout_s, MOST_BODY_BYTES))

    async def get(self, login: str, path: str, token: str, **query: str) -> Page:
        """Read one page within the timeout."""
        try:
            answer = await self.caller.get(login, path, token, query)
        except GraphError as fault:
            return Page({}, fault, "", Usage())
        usage = read_usage(answer.headers, CONVERSATION_POOLS)
        try:
            return Page(read_object(answer, usage), None, answer.version, usage)
        except GraphError as fault:
            return Page({}, fault, answer.version, usage)


def describe_fault(fault: GraphError) -> str:
    """Describe a fault with what Meta's support asks for: code, subcode, trace id."""
    problem = fault.problem
    parts = [
        f"code {problem.code}" if problem.code is not None else "",
        f"subcode {problem.subcode}" if problem.subcode is not None else "",
        f"trace {problem.fbtrace_id}" if problem.fbtrace_id else "",
    ]
    known = ", ".join(part for part in parts if part)
    return printable(f"{problem.reason}{f' ({known})' if known else ''}")
