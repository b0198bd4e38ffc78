"""Clients that three generators make of the document pass type checks and call the service.

The callers and the commands are those of docs/callers.md; `calls/` has every route.
"""

import json
import re
import shutil
from typing import Any

import pytest

from sandbox.graph.simulator import GraphSimulator
from service.http.pages import OPENAPI
from tests.clients.conftest import CALLS, Folder
from tests.service.conftest import (
    ACCOUNT,
    APP_SECRET,
    INBOX_KEY,
    LOCATION,
    OPERATOR_KEY,
    TOKEN,
    VERIFY_TOKEN,
    Client,
    Start,
    new_user,
)

DOCUMENT: dict[str, Any] = json.loads(OPENAPI.read_bytes())
OPERATIONS = {
    operation["operationId"]: operation["tags"][0].lower()
    for item in DOCUMENT["paths"].values()
    for operation in item.values()
}
STREAM = "watchUsers"  # has no end; tests/browser reads it
SHOWN = ["9000000000100001", "9000000000100002"]  # the ids in the guide's commands


@pytest.fixture
async def client(start: Start) -> Client:
    """Start a service that knows a name and a user who gave no consent."""
    client = await start()
    await client.connect()
    await client.write(*SHOWN)
    return client


@pytest.fixture
def without_consent(graph: GraphSimulator) -> str:
    graph.set_answer("consent_required", user=SHOWN[1])
    return SHOWN[1]


async def shown_lines(client: Client, without_consent: str) -> list[str]:
    """Give the lines that both callers print, from what the service has by now."""
    named = await client.until_state(SHOWN[0], "resolved")
    failed = await client.until_failed(without_consent)
    return [
        f"{named['igUserId']} {named['displayName']} resolved",
        f"{without_consent} {failed['displayName']} consent_required",
    ]


def snake_case(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def names_of(printed: str) -> set[str]:
    """Name the operations that a transcript has answers of."""
    return {line.split(" ", 1)[0] for line in printed.splitlines()}


async def test_python_clients_have_every_route_pass_type_checks_and_call_the_service(
    client: Client, without_consent: str, folder: Folder
) -> None:
    shown = await shown_lines(client, without_consent)
    keys = {"INBOX_KEY": INBOX_KEY, "OPERATOR_KEY": OPERATOR_KEY}
    generated, named, modelled, unnamed = await folder.follow("Python", client, **keys)
    assert "WARNING" not in generated.upper()
    assert modelled == ""
    assert named.splitlines()[:-1] == shown
    assert re.fullmatch(r"a grant until 20\S+", named.splitlines()[-1])
    assert unnamed == f"{shown[1].split()[1]} {LOCATION}\n"

    api = folder.path / "instagram_identity_client" / "api"
    made = {f"{path.parent.name}/{path.stem}" for path in api.glob("*/[!_]*.py")}
    assert made == {f"{tag}/{snake_case(name)}" for name, tag in OPERATIONS.items()}
    models = re.findall(r"^class (\w+)", folder.read("identity_models.py"), re.MULTILINE)
    assert sorted(models) == sorted(DOCUMENT["components"]["schemas"])

    shutil.copy(CALLS / "every_route.py", folder.path)
    await folder.run("mypy", "inbox.py", "unnamed.py", "every_route.py")
    given = (OPERATOR_KEY, VERIFY_TOKEN, APP_SECRET, ACCOUNT, TOKEN, new_user())
    printed = await folder.run("python", "every_route.py", client.url, *given)
    print(printed)  # noqa: T201 - shown with -s
    assert names_of(printed) == OPERATIONS.keys() - {STREAM}
    assert "NoneType" not in re.sub(r".* (204|302) NoneType\n", "", printed)


@pytest.mark.needs_program("node", "openapi-typescript", "tsc")
async def test_a_typescript_client_has_every_route_passes_type_checks_and_calls_the_service(
    client: Client, without_consent: str, folder: Folder
) -> None:
    shown = await shown_lines(client, without_consent)
    shutil.copy(CALLS / "every_route.ts", folder.path)
    *_, named = await folder.follow("TypeScript", client, INBOX_KEY=INBOX_KEY)
    assert named.splitlines()[:-1] == shown
    assert re.fullmatch(r"a grant until 20\S+", named.splitlines()[-1])

    typed = folder.read("identity.ts")
    operations = typed[typed.index("export interface operations {") :]
    assert set(re.findall(r"^    (\w+): \{", operations, re.MULTILINE)) == OPERATIONS.keys()

    given = (OPERATOR_KEY, ACCOUNT, TOKEN, new_user())
    printed = await folder.run("node", "every_route.js", client.url, *given)
    print(printed)  # noqa: T201 - shown with -s
    assert names_of(printed) == {
        name for name, tag in OPERATIONS.items() if tag in ("inbox", "operations")
    } - {STREAM, "getPicture"} | {"getConsoleContext"}
    assert set(re.findall(r"(\d+) undefined", printed)) == {"204"}
