import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

from sandbox import samples
from sandbox.sample_traffic import SAMPLE_ACCOUNT, SENDERS, sample_deliveries
from service.receiving.webhook import parse_delivery, verify_signature

ACCOUNT, USER, SECRET = "17841400000000007", "5550000000000001", "a made-up app secret"
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)

MAKES_A_PARTICIPANT = [
    samples.message(USER, ACCOUNT),
    samples.echo(ACCOUNT, USER),
    samples.attachment(USER, ACCOUNT),
    samples.attachment(USER, ACCOUNT, "ephemeral"),
    samples.deleted(USER, ACCOUNT),
    samples.unsupported(USER, ACCOUNT),
    samples.postback(USER, ACCOUNT),
    samples.reaction(USER, ACCOUNT),
    samples.referral(USER, ACCOUNT),
    samples.optin(USER, ACCOUNT),
]
MAKES_NONE = [
    samples.read(USER, ACCOUNT),
    samples.message_edit(USER, ACCOUNT),
    samples.message_edit(None, None, num_edit=0),
    samples.self_message(ACCOUNT),
    samples.thread_control(USER, ACCOUNT, "take"),
    samples.thread_control(USER, ACCOUNT, "pass"),
    samples.app_roles(ACCOUNT),
]


def users(body: bytes) -> set[str]:
    """Read the users of a delivery as the service does."""
    contacts = parse_delivery(body, NOW, {}).contacts
    return {contact.ig_user_id for contact in contacts}


def test_a_signature_is_the_hmac_of_the_bytes() -> None:
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(USER, ACCOUNT)))
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert samples.sign(body, SECRET) == f"sha256={expected}"
    headers = samples.signed_headers(body, SECRET)
    verify_signature(body, headers["X-Hub-Signature-256"], [SECRET.encode()])
    assert headers["X-Hub-Signature"].startswith("sha1=")


def test_the_bytes_are_escaped_as_metas() -> None:
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(USER, ACCOUNT, "ä/😀")))
    assert b'"text":"\\u00e4\\/\\ud83d\\ude00"' in body
    assert json.loads(body)["entry"][0]["messaging"][0]["message"]["text"] == "ä/😀"


@pytest.mark.parametrize("item", MAKES_A_PARTICIPANT, ids=min)
def test_kinds_that_make_a_participant_do_so_in_every_container(item: samples.JsonObject) -> None:
    in_messaging = samples.delivery(samples.entry(ACCOUNT, item))
    on_standby = samples.delivery(samples.standby_entry(ACCOUNT, item))
    in_changes = samples.delivery(samples.changes_entry(ACCOUNT, samples.change("messages", item)))
    flat = samples.delivery(samples.flat_entry(ACCOUNT, "messages", item))
    assert [users(body) for body in (in_messaging, on_standby, in_changes, flat)] == [{USER}] * 4


@pytest.mark.parametrize("item", MAKES_NONE, ids=min)
def test_kinds_that_make_none(item: samples.JsonObject) -> None:
    assert users(samples.delivery(samples.entry(ACCOUNT, item))) == set()


@pytest.mark.parametrize(
    "entry",
    [
        samples.changes_entry(ACCOUNT, samples.change("comments", samples.comment(USER))),
        samples.changes_entry(ACCOUNT, samples.change("mentions", samples.mention())),
        samples.changes_entry(ACCOUNT, samples.change("story_insights", samples.story_insights())),
        samples.flat_entry(ACCOUNT, "comments", samples.comment(USER)),
    ],
)
def test_what_is_not_a_dm_makes_no_participant(entry: samples.JsonObject) -> None:
    assert users(samples.delivery(entry)) == set()


@pytest.mark.parametrize(
    "field",
    [
        "messages",
        "standby",
        "messaging_postbacks",
        "message_reactions",
        "messaging_optins",
        "messaging_seen",
    ],
)
def test_the_dashboards_test_makes_no_participant(field: str) -> None:
    body = samples.dashboard_test(field)
    assert json.loads(body)["entry"][0]["id"] == "0"
    assert users(body) == set()


def test_message_ids_are_never_the_same() -> None:
    assert len({samples.new_mid() for _ in range(100)}) == 100


def test_every_sample_sender_is_in_the_sample_deliveries() -> None:
    seen: set[str] = set()
    for body in sample_deliveries():
        seen |= users(body)
        assert SAMPLE_ACCOUNT.encode() in body
    assert seen == {sender.ig_user_id for sender in SENDERS if sender.state != "unknown"}
