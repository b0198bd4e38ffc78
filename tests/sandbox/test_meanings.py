"""What the sandbox says about its answers is what the service makes of them."""

import aiohttp
import pytest

from sandbox.graph.answers import ANSWERS
from sandbox.graph.meanings import MEANINGS, USUAL
from sandbox.graph.simulator import GraphSimulator
from service.errors import GraphError
from service.graph.calls import GraphCaller, graph_session
from service.graph.client import GraphClient

ACCOUNT, USER, SECRET = "17841400000000007", "5550000000000001", "a made-up app secret"
SHORT_S, LONG_S = 0.1, 30.0


async def _reason(
    session: aiohttp.ClientSession, graph: GraphSimulator, timeout_s: float
) -> str | None:
    hosts = {"facebook": graph.url, "instagram": graph.instagram_url}
    caller = GraphCaller(session, hosts, "v18.0", SECRET, timeout_s)
    try:
        await GraphClient(caller, lambda *_: None).fetch_profile(USER, ACCOUNT, "facebook", "T")
    except GraphError as fault:
        return fault.problem.reason
    return None


@pytest.mark.parametrize("title", sorted({m.outcome.title for m in MEANINGS.values()}))
async def test_an_answer_has_the_reason_that_its_meaning_names(title: str) -> None:
    meant = [m for m in MEANINGS.values() if m.outcome.title == title]
    async with GraphSimulator(app_secret=SECRET) as graph, graph_session(1) as session:
        for meaning in meant:
            graph.set_answer(meaning.answer)
            timeout_s = SHORT_S if meaning.outcome.reason == "timeout" else LONG_S
            assert await _reason(session, graph, timeout_s) == meaning.outcome.reason


def test_every_answer_is_explained_and_the_menu_fits_nine_keys() -> None:
    assert MEANINGS.keys() == ANSWERS.keys()
    assert set(USUAL) <= ANSWERS.keys()
    assert len(USUAL) == 9
