"""The typed reader reads what is usual, and never anything else than the tolerant reader does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import samples
from sandbox.samples import JsonObject
from service.errors import PayloadError
from service.receiving.items import Item
from service.receiving.tolerant import read_tolerantly
from service.receiving.typed import read_typed
from tests.strategies import (
    ACCOUNT,
    JSON_VALUES,
    hurt_items,
    items,
    mutated_bytes,
    mutated_items,
)

USER = "5550000000000001"
USUAL = {
    "message": samples.message(USER, ACCOUNT),
    "emoji": samples.message(USER, ACCOUNT, text="caf\u00e9 \U0001f600 </b>"),
    "echo": samples.echo(ACCOUNT, USER),
    "self": samples.self_message(ACCOUNT),
    "attachment": samples.attachment(USER, ACCOUNT),
    "deleted": samples.deleted(USER, ACCOUNT),
    "unsupported": samples.unsupported(USER, ACCOUNT),
    "postback": samples.postback(USER, ACCOUNT),
    "reaction": samples.reaction(USER, ACCOUNT),
    "referral": samples.referral(USER, ACCOUNT),
    "optin": samples.optin(USER, ACCOUNT),
    "read": samples.read(USER, ACCOUNT),
}
ANY_ITEMS = st.sampled_from(list(USUAL.values())) | items() | hurt_items() | mutated_items()


def read_both(body: bytes) -> tuple[list[Item | str] | None, list[Item | str] | None]:
    """What each reader gives; None for a delivery that it does not take."""
    try:
        tolerant = list(read_tolerantly(body))
    except PayloadError:
        tolerant = None
    return read_typed(body), tolerant


@st.composite
def entries(draw: st.DrawFn) -> JsonObject:
    """An entry whose items stand in any container, with anything in one of its places."""
    said = draw(st.lists(ANY_ITEMS, max_size=3))
    container = draw(st.sampled_from(["messaging", "messaging", "standby"]))
    entry: JsonObject = {"id": ACCOUNT, "time": samples.now_ms(), container: said}
    if draw(st.booleans()):
        changes = [{"field": "messages", "value": item} for item in said]
        entry |= draw(st.sampled_from([{"changes": changes}, {"field": "messages"}]))
    if draw(st.booleans()):
        entry[draw(st.sampled_from(["id", "messaging", "field", "time"]))] = draw(JSON_VALUES)
    return entry


@pytest.mark.parametrize("kind", USUAL)
def test_what_nearly_every_delivery_holds_is_read_by_type(kind: str) -> None:
    typed, tolerant = read_both(samples.delivery(samples.entry(ACCOUNT, USUAL[kind])))
    assert typed is not None
    assert typed == tolerant


def test_a_batch_of_usual_items_is_read_by_type() -> None:
    typed, tolerant = read_both(samples.delivery(samples.entry(ACCOUNT, *USUAL.values())))
    assert typed is not None
    assert typed == tolerant


@given(st.lists(entries(), max_size=2), st.sampled_from(["instagram", "instagram", "page"]))
def test_both_readers_agree_on_what_the_typed_one_takes(
    found: list[JsonObject], object_: str
) -> None:
    typed, tolerant = read_both(samples.delivery(*found, object_=object_))
    assert typed in (None, tolerant)


WHOLE = st.lists(items() | st.sampled_from(list(USUAL.values())), min_size=1, max_size=2).map(
    lambda said: samples.delivery(samples.entry(ACCOUNT, *said))
)


@given(mutated_bytes(WHOLE))
def test_both_readers_agree_on_broken_bytes(body: bytes) -> None:
    typed, tolerant = read_both(body)
    assert typed in (None, tolerant)


@pytest.mark.parametrize("text", [b"caf\xe9", b"\xf0\x9f\x98\x80", b"\xff"])
def test_bytes_beyond_ascii_are_left_to_the_tolerant_reader(text: bytes) -> None:
    body = samples.delivery(samples.entry(ACCOUNT, USUAL["message"]))
    assert read_typed(body.replace(b"Hello there!", text)) is None


@given(JSON_VALUES)
def test_any_json_is_left_or_read_alike(value: object) -> None:
    typed, tolerant = read_both(json.dumps({"object": "instagram", "entry": value}).encode())
    assert typed in (None, tolerant)
