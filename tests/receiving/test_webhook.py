import hmac
import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import samples
from sandbox.samples import JsonObject
from service.errors import PayloadError, SignatureError
from service.model.contacts import Contact, merge_contacts
from service.receiving.items import CONTACT_KINDS, DM_FIELDS, OTHER_KINDS
from service.receiving.webhook import Delivery, parse_delivery, verify_signature
from tests.strategies import (
    ACCOUNT,
    DEPTHS,
    IDS,
    JSON_VALUES,
    NO_ID,
    hurt_items,
    items,
    mutated_bytes,
    mutated_items,
    nested,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
USER, OTHER_USER, ALIAS = "5550000000000001", "5550000000000002", "17841400000000008"
BODY = b'{"object":"instagram","entry":[],"text":"\\u00e4\\/\\ud83d\\ude00"}'
SECRETS = [b"the new app secret", b"the old app secret"]
BODIES = st.lists(items(), max_size=3).map(lambda found: written(*found))


def is_signed(body: bytes, header: str | None, secrets: list[bytes] = SECRETS) -> bool:
    try:
        verify_signature(body, header, secrets)
    except SignatureError:
        return False
    return True


def written(*found: object, account: object = ACCOUNT) -> bytes:
    """Write a delivery whose items stand in one entry's `messaging`."""
    return samples.delivery({"id": account, "time": NOW_MS, "messaging": found})


def parse(body: bytes, account_of: dict[str, str] | None = None) -> Delivery:
    return parse_delivery(body, NOW, account_of or {})


def users(body: bytes, account_of: dict[str, str] | None = None) -> list[str]:
    return [contact.ig_user_id for contact in parse(body, account_of).contacts]


def only_reason(body: bytes, account_of: dict[str, str] | None = None) -> str:
    """The one reason of a delivery that makes no participant."""
    delivery = parse(body, account_of)
    assert delivery.contacts == []
    (reason,) = delivery.skipped.elements()
    return reason


def in_containers(item: JsonObject) -> list[JsonObject]:
    """An item's entry in each form that Meta has for it."""
    return [
        samples.entry(ACCOUNT, item),
        samples.standby_entry(ACCOUNT, item),
        samples.changes_entry(ACCOUNT, samples.change("messages", item)),
        samples.flat_entry(ACCOUNT, "messages", item),
    ]


# Signatures


@pytest.mark.parametrize("secret", SECRETS)
def test_any_of_the_secrets_may_have_signed(secret: bytes) -> None:
    digest = hmac.new(secret, BODY, "sha256").hexdigest()
    assert is_signed(BODY, f"sha256={digest}")


GOOD = hmac.new(SECRETS[0], BODY, "sha256").hexdigest()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        GOOD,
        f"sha1={hmac.new(SECRETS[0], BODY, 'sha1').hexdigest()}",
        f"sha256={GOOD[:-1]}",
        f"sha256={GOOD}0",
        f"sha256={GOOD.upper()}",
        f"SHA256={GOOD}",
        f" sha256={GOOD}",
        f"sha256={hmac.new(b'another secret', BODY, 'sha256').hexdigest()}",
        f"sha256={hmac.new(b'', BODY, 'sha256').hexdigest()}",
        f"sha256={GOOD[:-2]}é",
        b"sha256=\xff\xfe".decode("utf-8", "surrogateescape"),
    ],
)
def test_no_other_header_is_a_signature(header: str | None) -> None:
    assert not is_signed(BODY, header)


def test_a_refusal_does_not_give_the_signature_away() -> None:
    with pytest.raises(SignatureError) as refused:
        verify_signature(BODY, "sha256=0", SECRETS)
    assert GOOD not in str(refused.value)


def test_the_bytes_as_received_are_signed_not_what_they_mean() -> None:
    rewritten = json.dumps(json.loads(BODY)).encode()
    assert not is_signed(rewritten, f"sha256={GOOD}")


def test_without_a_secret_nothing_is_good() -> None:
    assert not is_signed(BODY, f"sha256={GOOD}", [])


@given(st.binary(max_size=80))
def test_any_header_bytes_are_judged(header: bytes) -> None:
    assert not is_signed(BODY, header.decode("utf-8", "surrogateescape"))


# Kinds and containers


@pytest.mark.parametrize("kind", CONTACT_KINDS)
def test_a_kind_that_makes_a_participant_does_so_in_every_container(kind: str) -> None:
    item = samples.item(USER, ACCOUNT, NOW_MS, **{kind: {}})
    expected = Contact(ACCOUNT, USER, NOW, NOW, wrote=True)
    for entry in in_containers(item):
        assert parse(samples.delivery(entry)) == Delivery([expected], Counter())


@pytest.mark.parametrize("kind", [*OTHER_KINDS, "something_new"])
def test_a_kind_that_makes_none_is_told_in_every_container(kind: str) -> None:
    item = samples.item(USER, ACCOUNT, NOW_MS, **{kind: {}})
    for entry in in_containers(item):
        assert only_reason(samples.delivery(entry)) in {kind, "unknown kind"}


@pytest.mark.parametrize("field", sorted(DM_FIELDS))
def test_every_dm_field_is_read(field: str) -> None:
    value = samples.message(USER, ACCOUNT)
    assert users(samples.delivery(samples.flat_entry(ACCOUNT, field, value))) == [USER]


@pytest.mark.parametrize("field", ["comments", "live_comments", "mentions", "story_insights", "🙂"])
def test_fields_that_are_not_dms_make_none(field: str) -> None:
    value = samples.message(USER, ACCOUNT)
    entry = samples.changes_entry(ACCOUNT, samples.change(field, value))
    assert only_reason(samples.delivery(entry)) == f"field {field}"


def test_all_containers_of_an_entry_are_read() -> None:
    said = [samples.message(f"555000000000000{n}", ACCOUNT) for n in range(4)]
    entry = samples.entry(ACCOUNT, said[0]) | samples.standby_entry(ACCOUNT, said[1])
    entry |= {"changes": [samples.change("messages", said[2])], "field": "standby"}
    body = samples.delivery(entry | {"value": said[3]})
    assert users(body) == [f"555000000000000{n}" for n in range(4)]


@pytest.mark.parametrize("object_", ["page", "", "user"])
def test_other_objects_are_acknowledged_and_told(object_: str) -> None:
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(USER, ACCOUNT)), object_=object_)
    assert only_reason(body) == "object is not instagram"


@pytest.mark.parametrize("entry_id", ["0", 0])
def test_the_dashboards_test_makes_none(entry_id: object) -> None:
    assert only_reason(written(samples.message(USER, "23245"), account=entry_id)) == (
        "dashboard test"
    )


def test_an_entry_of_nothing_that_is_known_is_told() -> None:
    body = samples.delivery({"id": ACCOUNT, "time": NOW_MS, "something_new": [{}]})
    assert parse(body).skipped.total() == 1


# Who is who


def test_an_echo_is_about_its_recipient_who_wrote_nothing() -> None:
    body = written(samples.echo(ACCOUNT, USER, at_ms=NOW_MS))
    assert parse(body).contacts == [Contact(ACCOUNT, USER, NOW, NOW, wrote=False)]


def test_what_the_account_sends_without_is_echo_is_an_echo_too() -> None:
    (contact,) = parse(written(samples.message(ACCOUNT, USER))).contacts
    assert (contact.ig_user_id, contact.wrote) == (USER, False)


def test_ids_may_be_json_integers() -> None:
    item = samples.message(USER, ACCOUNT) | {"sender": {"id": int(USER)}}
    assert users(written(item, account=int(ACCOUNT))) == [USER]
    assert parse(written(item, account=int(ACCOUNT))).contacts[0].ig_account_id == ACCOUNT


@pytest.mark.parametrize(
    ("entry_id", "item"),
    [
        (ALIAS, samples.message(USER, ACCOUNT)),
        (ALIAS, samples.message(USER, ALIAS)),
        ("17841400000009999", samples.message(USER, ALIAS)),
        ("17841400000009999", samples.echo(ALIAS, USER)),
        (ACCOUNT, samples.message(ALIAS, USER)),
    ],
)
def test_an_alias_stands_for_its_account(entry_id: str, item: JsonObject) -> None:
    account_of = {ACCOUNT: ACCOUNT, ALIAS: ACCOUNT}
    (contact,) = parse(written(item, account=entry_id), account_of).contacts
    assert (contact.ig_account_id, contact.ig_user_id) == (ACCOUNT, USER)


def test_the_entry_counts_before_the_other_party() -> None:
    account_of = {ACCOUNT: ACCOUNT, "1784": "1784"}
    (contact,) = parse(written(samples.message(USER, "1784")), account_of).contacts
    assert contact.ig_account_id == ACCOUNT


@pytest.mark.parametrize(
    "item",
    [
        samples.self_message(ACCOUNT),
        samples.message(ACCOUNT, ACCOUNT),
        samples.message(ACCOUNT, ALIAS),
        samples.echo(USER, ALIAS),
        samples.echo(ALIAS, ACCOUNT),
        samples.message(USER, ACCOUNT) | {"is_self": True},
    ],
)
def test_an_accounts_own_ids_are_never_users(item: JsonObject) -> None:
    assert only_reason(written(item), {ACCOUNT: ACCOUNT, ALIAS: ACCOUNT}) == "self message"


def test_two_connected_accounts_that_write_to_each_other_are_no_users() -> None:
    account_of = {ACCOUNT: ACCOUNT, USER: USER}
    assert users(written(samples.message(USER, ACCOUNT)), account_of) == []


def test_a_user_of_one_delivery_is_one_contact_from_first_to_last() -> None:
    earlier = NOW - timedelta(minutes=5)
    said = [
        samples.message(USER, ACCOUNT, at_ms=NOW_MS),
        samples.echo(ACCOUNT, USER, at_ms=NOW_MS - 300_000),
    ]
    assert parse(written(*said)).contacts == [Contact(ACCOUNT, USER, earlier, NOW, wrote=True)]


# Malformed


@pytest.mark.parametrize(
    "entry",
    [
        {"messaging": [samples.message(USER, ACCOUNT)]},
        {"id": None, "messaging": [samples.message(USER, ACCOUNT)]},
        {"id": "a", "messaging": [samples.message(USER, ACCOUNT)]},
        {"id": ACCOUNT, "messaging": None},
        {"id": ACCOUNT, "messaging": {"0": {}}},
        {"id": ACCOUNT, "standby": "x"},
        {"id": ACCOUNT, "changes": [None]},
        {"id": ACCOUNT, "changes": [{"value": {}}]},
        {"id": ACCOUNT, "changes": [{"field": "messages"}]},
        {"id": ACCOUNT, "field": 5, "value": {}},
        {"id": ACCOUNT, "field": "messages", "value": []},
        None,
        [],
        "entry",
    ],
)
def test_a_malformed_entry_costs_itself_and_is_told(entry: JsonObject) -> None:
    assert only_reason(samples.delivery(entry)).startswith("malformed: ")
    beside = samples.entry(ACCOUNT, samples.message(OTHER_USER, ACCOUNT))
    assert users(samples.delivery(entry, beside)) == [OTHER_USER]


@pytest.mark.parametrize("entry", [None, {}, "x", 5])
def test_an_entry_list_that_is_none_is_told(entry: object) -> None:
    body = json.dumps({"object": "instagram", "entry": entry}).encode()
    assert only_reason(body).startswith("malformed: ")


@given(st.lists(items(), max_size=5), hurt_items(), st.integers(0, 5))
def test_a_malformed_item_costs_only_itself(rest: list[object], hurt: object, place: int) -> None:
    alone, batch = parse(written(*rest)), parse(written(*rest[:place], hurt, *rest[place:]))
    assert batch.contacts == alone.contacts
    (reason,) = (batch.skipped - alone.skipped).elements()
    assert reason.startswith("malformed: ")


@given(st.lists(items(), max_size=3), mutated_items(), st.lists(items(), max_size=3))
def test_each_item_is_judged_alone_whatever_it_is(
    before: list[object], strange: object, after: list[object]
) -> None:
    alone = [parse(written(*part)) for part in (before, [strange], after)]
    batch = parse(written(*before, strange, *after))
    assert batch.contacts == merge_contacts(c for part in alone for c in part.contacts)
    assert batch.skipped == alone[0].skipped + alone[1].skipped + alone[2].skipped


@given(NO_ID, st.sampled_from(in_containers(samples.message(USER, ACCOUNT))))
def test_an_entry_without_an_id_makes_no_participant(no_id: object, entry: JsonObject) -> None:
    assert only_reason(samples.delivery(entry | {"id": no_id})) == "malformed: entry.id"


@given(IDS, IDS)
def test_whatever_two_ids_meet_the_user_is_never_the_account(user: str, account: str) -> None:
    found = parse(written(samples.message(user, account), account=account)).contacts
    assert [contact.ig_user_id for contact in found] == ([user] if user != account else [])


# Bodies


def test_a_number_too_long_to_read_costs_only_its_item() -> None:
    body = written(samples.message(USER, ACCOUNT), samples.message(OTHER_USER, ACCOUNT))
    assert users(body.replace(f'"{USER}"'.encode(), b"1" * 5000)) == [OTHER_USER]


@pytest.mark.parametrize("number", [b"1e400000", b"-1e999", b"NaN", b"1E+2"])
def test_a_strange_time_costs_nothing(number: bytes) -> None:
    body = written(samples.message(USER, ACCOUNT, at_ms=NOW_MS))
    assert parse(body.replace(str(NOW_MS).encode(), number)).contacts[0].ig_user_id == USER


def test_half_an_emoji_costs_nothing() -> None:
    body = written(samples.message(USER, ACCOUNT, text="cut \ud83d"))
    assert b"\\ud83d" in body
    assert users(body) == [USER]


def test_of_a_key_written_twice_the_last_counts() -> None:
    body = written(samples.message(USER, ACCOUNT))
    twice = body.replace(b'"sender":', b'"sender":{"id":"9"},"sender":')
    assert users(twice) == [USER]


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"[]", b'"x"', b"null", b"{", b'{"a":"\xff"}', b"{}x"]
)
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError):
        parse(body)


@given(DEPTHS, st.sampled_from([b"%s", b'{"entry":%s}', b'{"a":"\\ud83d","b":%s}']))
def test_deep_nesting_is_read_or_refused(depth: int, form: bytes) -> None:
    assert is_read_or_refused(form % nested(depth))


@given(
    st.binary()
    | mutated_bytes(BODIES)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | JSON_VALUES.map(lambda value: json.dumps({"object": "instagram", "entry": value}).encode())
)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    assert is_read_or_refused(body)


def is_read_or_refused(body: bytes) -> bool:
    try:
        return isinstance(parse(body), Delivery)
    except PayloadError:
        return True
