"""What a service really publishes, for the alerts and the dashboard to be held against."""

import functools
from collections import defaultdict
from contextlib import AsyncExitStack

import aiohttp
import pytest_asyncio
import structlog
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from sandbox.graph.simulator import GraphSimulator
from service.app import service
from tests.conftest import Databases
from tests.monitoring.promql import Exposed
from tests.service.conftest import (
    ACCOUNT,
    APP_SECRET,
    TOKEN,
    Client,
    make_environment,
    new_user,
    read_settings,
)
from tests.system.chaos.nodes import lone_node
from tests.until import until


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def exposed(databases: Databases, template_database: str) -> Exposed:
    """Have a service with a broker and one without resolve a user, and read what they publish."""
    found: defaultdict[str, dict[str, set[str]]] = defaultdict(dict, up={})
    with structlog.testing.capture_logs():
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(databases.new(template_database))
            graph = await stack.enter_async_context(GraphSimulator(app_secret=APP_SECRET))
            graph.add_account(ACCOUNT, TOKEN)
            broker = await stack.enter_async_context(lone_node())
            session = await stack.enter_async_context(aiohttp.ClientSession())
            environment = make_environment(url, graph) | {"FORWARD_URLS": "http://127.0.0.1:9/"}
            for intake_url in ("", broker.url):
                settings = read_settings(environment, intake_url=intake_url)
                running = await stack.enter_async_context(service(settings))
                client = Client(f"http://127.0.0.1:{running.port}", session, running)
                for sample in await _samples(client):
                    labels = found[sample.name]
                    for label, value in sample.labels.items():
                        labels.setdefault(label, set()).add(value)
    return found


async def _samples(client: Client) -> list[Sample]:
    """Have a user resolved, and read the metrics."""
    await client.connect()
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    text = await until(functools.partial(_counted, client))
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


async def _counted(client: Client) -> str:
    text = (await client.call("GET", "/metrics")).body.decode()
    return text if "instagram_identities{" in text else ""
