from collections.abc import AsyncIterator, Iterator

import pytest
from aioresponses import aioresponses

from service.graph.calls import graph_session

from .fake import Graph


@pytest.fixture
def answers() -> Iterator[aioresponses]:
    with aioresponses() as found:
        yield found


@pytest.fixture
async def graph(answers: aioresponses) -> AsyncIterator[Graph]:
    async with graph_session(1) as session:
        yield Graph(session, answers)
