"""What a service really publishes, for the alerts and the dashboard to be held against."""

import functools
from collections import defaultdict

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.promql import Exposed
from tests.receiving.intake.conftest import broker
from tests.service.conftest import (
    Client,
    Start,
    _quiet_logs,
    environment,
    new_user,
    settings,
    start,
)
from tests.service.conftest import own_graph as graph
from tests.system.chaos.nodes import Node
from tests.until import until

__all__ = ["_quiet_logs", "broker", "environment", "graph", "settings", "start"]


@pytest.fixture
async def exposed(start: Start, broker: Node) -> Exposed:
    """Have a service with a broker and one without resolve a user, and read what they publish."""
    found: defaultdict[str, dict[str, set[str]]] = defaultdict(dict, up={})
    for intake_url in ("", broker.url):
        client = await start(intake_url=intake_url, forward_urls="http://127.0.0.1:9/")
        await client.connect()
        user = new_user()
        await client.write(user)
        await client.until_state(user, "resolved")
        text = await until(functools.partial(_counted, client))
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = found[sample.name]
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return found


async def _counted(client: Client) -> str:
    text = (await client.call("GET", "/metrics")).body.decode()
    return text if "instagram_identities{" in text else ""
