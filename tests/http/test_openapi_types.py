"""The document says what the types of the code say: properties, choices and bounds."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest

from service.http import operators, participants, people, users
from service.http.connections import ConnectionBody, ConnectionChange
from service.http.grant_signing import Grant
from service.http.grants import GrantBody
from service.http.history import History
from service.http.operators import EraseBody
from service.http.participants import Announcement
from service.http.server import PREFIX
from service.identities.people import Person
from service.judgement.token_rules import TokenWarning
from service.judgement.verdict import Verdict
from service.model.calls import PauseReason, UserReason
from service.model.identity import Identity
from service.receiving.announced import AnnouncedParticipant
from service.resolving.on_request import BACKFILL_LIMIT, Backfill
from service.store.connections import Connection
from service.store.people import LONGEST_PREFIX
from tests.http.test_openapi import DOCUMENT, SCHEMAS, flat, resolved

STRUCTS = (
    *(Identity, Person, Backfill, ConnectionBody, Connection, EraseBody, GrantBody, Grant),
    *(ConnectionChange, Verdict, History, TokenWarning, AnnouncedParticipant, Announcement),
)
TYPED: dict[str, dict[str, Any]] = msgspec.json.schema_components(
    STRUCTS, ref_template="#/components/schemas/{name}"
)[1]


@pytest.mark.parametrize("name", TYPED)
def test_a_schema_says_all_that_the_type_says(name: str) -> None:
    assert not list(unsaid(TYPED[name], flat(SCHEMAS[name]), name))


def unsaid(typed: dict[str, Any], described: dict[str, Any], where: str) -> Iterator[str]:
    """Name each keyword of the type's schema that the document lacks or has otherwise."""
    for keyword, value in typed.items():
        match keyword:
            case "title" | "description":
                continue
            case "properties":
                if value.keys() != described["properties"].keys():
                    yield f"{where}: {value.keys() ^ described['properties'].keys()}"
                for name in value.keys() & described["properties"].keys():
                    yield from unsaid(
                        plain(value[name]), plain(described["properties"][name]), f"{where}.{name}"
                    )
            case "items" | "additionalProperties" if isinstance(value, dict):
                yield from unsaid(plain(value), plain(described[keyword]), f"{where}.{keyword}")
            case _ if value != described.get(keyword) and value != []:
                yield f"{where}: {keyword} {value} {described.get(keyword)}"


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Write one schema for equal ones: choices in place, sorted, and what may be null likewise."""
    if "anyOf" in schema:
        kinds = [plain(each) for each in schema["anyOf"]]
        types = sorted({kind for each in kinds for kind in each.get("kinds", ())})
        merged = {key: value for each in kinds for key, value in each.items()}
        return merged | {"kinds": types}
    found = dict(schema)
    if found.get("$ref", "").rpartition("/")[2] not in TYPED:
        found = resolved(found) | {key: found[key] for key in ("default",) if key in found}
    if "enum" in found:
        choice = found.pop("enum")
        found["choice"] = sorted(each for each in choice if each is not None)
        kind = ["string", "null"] if None in choice else "string"
    else:
        kind = found.pop("type", [])
    if "pattern" in found:
        found["pattern"] = found["pattern"].removesuffix(r"(?!\n)")
    return found | {"kinds": sorted([kind] if isinstance(kind, str) else kind)}


def test_bounds_are_those_of_the_code() -> None:
    filters = parameters(f"{PREFIX}/people", "get")
    assert (filters["limit"]["maximum"], filters["limit"]["default"]) == (
        people.MOST_PEOPLE,
        people.USUAL_PEOPLE,
    )
    assert filters["days"]["maximum"] == people.MOST_DAYS
    assert filters["q"]["maxLength"] == LONGEST_PREFIX
    backfill = parameters(f"{PREFIX}/messages/backfill", "post")
    assert backfill["days"]["maximum"] == operators.MOST_DAYS
    assert backfill["days"]["default"] == operators.DEFAULT_DAYS
    assert backfill["locationId"] == filters["locationId"]
    assert parameters(f"{PREFIX}/users", "get")["ids"]["maxItems"] == users.MOST_IDS
    assert parameters(f"{PREFIX}/users/events", "get")["ids"]["maxItems"] == users.MOST_IDS
    assert SCHEMAS["Backfill"]["properties"]["attempted"]["maximum"] == BACKFILL_LIMIT
    assert SCHEMAS["Backfill"]["properties"]["days"]["maximum"] == operators.MOST_DAYS
    assert SCHEMAS["UserList"]["properties"]["users"]["maxItems"] == users.MOST_IDS
    assert SCHEMAS["PeoplePage"]["properties"]["people"]["maxItems"] == people.MOST_PEOPLE
    announced = SCHEMAS["AnnouncementBody"]["properties"]["participants"]
    assert announced["maxItems"] == participants.MOST_ANNOUNCED


def test_choices_are_those_of_the_code() -> None:
    reasons = {*get_args(UserReason), *get_args(PauseReason)}
    assert set(SCHEMAS["Reason"]["enum"]) == set(people.REASONS) == reasons
    assert set(SCHEMAS["PauseReason"]["enum"]) == set(get_args(PauseReason))
    assert set(SCHEMAS["State"]["enum"]) == set(people.STATES)


def parameters(path: str, method: str) -> dict[str, dict[str, Any]]:
    found = map(resolved, DOCUMENT["paths"][path][method]["parameters"])
    return {each["name"]: each["schema"] for each in found}
