"""Signed webhook deliveries of every kind and container that Meta sends, and the sandbox's own.

Build items (`message`, `postback`, …), put them into entries (`entry`, `standby_entry`,
`changes_entry`, `flat_entry`), the entries into a `delivery`, and `sign` its bytes. Shapes: Meta
for Developers, "Webhooks: Instagram", and public captures.
"""

import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Mapping

JsonObject = dict[str, object]

DELIVERY_HEADERS = {
    "User-Agent": "facebookexternalua",
    "Content-Type": "application/json",
    "Facebook-API-Version": "v23.0",
}

_OWNER_APP, _OTHER_APP = "138483919580948", "138483919580949"
_message_numbers = itertools.count(1)


def sign(body: bytes, app_secret: str) -> str:
    """Return the X-Hub-Signature-256 of a body's bytes."""
    return "sha256=" + hmac.digest(app_secret.encode(), body, "sha256").hex()


def signed_headers(body: bytes, app_secret: str) -> dict[str, str]:
    """Return the headers of a delivery, including the older SHA-1 signature, as Meta sends them."""
    sha1 = hmac.digest(app_secret.encode(), body, hashlib.sha1).hex()
    signatures = {"X-Hub-Signature": f"sha1={sha1}", "X-Hub-Signature-256": sign(body, app_secret)}
    return DELIVERY_HEADERS | signatures


def delivery(*entries: Mapping[str, object], object_: str = "instagram") -> bytes:
    """Encode a delivery as Meta does: ASCII only, with escaped slashes."""
    body = json.dumps({"object": object_, "entry": entries}, separators=(",", ":"))
    return body.replace("/", "\\/").encode()


def now_ms() -> int:
    """Return the time in milliseconds, the unit of DM timestamps."""
    return time.time_ns() // 1_000_000


def new_mid() -> str:
    """Return a new message id."""
    return f"aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlE{now_ms()}x{next(_message_numbers)}"


def entry(account: str, *items: JsonObject, at_ms: int | None = None) -> JsonObject:
    """Return an account's entry with DM items under `messaging`."""
    return {"time": at_ms or now_ms(), "id": account, "messaging": list(items)}


def standby_entry(account: str, *items: JsonObject, at_ms: int | None = None) -> JsonObject:
    """Return an entry with DM items for an app that does not own the thread."""
    return {"time": at_ms or now_ms(), "id": account, "standby": list(items)}


def changes_entry(account: str, *changes: JsonObject, at_s: int | None = None) -> JsonObject:
    """Return an entry with `change` items, whose time is in seconds."""
    return {"id": account, "time": at_s or now_ms() // 1000, "changes": list(changes)}


def change(field: str, value: JsonObject) -> JsonObject:
    """Wrap a value as one of an entry's changes."""
    return {"field": field, "value": value}


def flat_entry(
    account: str, field: str, value: JsonObject, *, at_s: int | None = None
) -> JsonObject:
    """Return an entry with one field and value, as Instagram login sends comments."""
    return {"id": account, "time": at_s or now_ms() // 1000, "field": field, "value": value}


def dashboard_test(field: str = "messages") -> bytes:
    """Return the delivery of the dashboard's Test button: entry "0", string times in seconds."""
    kinds: dict[str, JsonObject] = {
        "messages": {"message": {"mid": "random_mid", "text": "random_text"}},
        "standby": {"message": {"mid": "random_mid", "text": "random_text"}},
        "messaging_postbacks": {"postback": {"mid": "m", "title": "Title", "payload": "P"}},
        "message_reactions": {"reaction": {"mid": "m", "action": "react", "reaction": "love"}},
        "messaging_optins": {"optin": {"type": "notification_messages", "payload": "P"}},
        "messaging_seen": {"read": {"mid": "last_message_id_read"}},
    }
    people: JsonObject = {"sender": {"id": "12334"}, "recipient": {"id": "23245"}}
    value = people | {"timestamp": "1527459824"} | kinds[field]
    return delivery(changes_entry("0", change(field, value)))


def item(
    sender: str | None, recipient: str | None, at_ms: int | None, **kind: object
) -> JsonObject:
    """Build one item; a party that is None is left out, as in some kinds."""
    made: JsonObject = {"sender": {"id": sender}} if sender is not None else {}
    if recipient is not None:
        made["recipient"] = {"id": recipient}
    return made | {"timestamp": at_ms or now_ms()} | kind


def message(
    user: str, account: str, text: str = "Hello there!", at_ms: int | None = None, **more: object
) -> JsonObject:
    """Build a DM from a user; `more` adds attachments, reply_to, quick_reply or referral."""
    return item(user, account, at_ms, message={"mid": new_mid(), "text": text} | more)


def echo(
    account: str, user: str, text: str = "Thanks for writing!", at_ms: int | None = None
) -> JsonObject:
    """Build the echo of a message from the account to a user."""
    said = {"mid": new_mid(), "text": text, "is_echo": True}
    return item(account, user, at_ms, message=said)


def self_message(account: str, at_ms: int | None = None) -> JsonObject:
    """Build a message of an account to itself."""
    said = {"mid": new_mid(), "text": "a note", "is_echo": True, "is_self": True}
    return item(account, account, at_ms, message=said)


def attachment(
    user: str, account: str, kind: str = "image", at_ms: int | None = None
) -> JsonObject:
    """Build a DM that is an attachment: image, audio, share, story_mention or ephemeral."""
    url = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1&signature=sample"
    attached = {"type": kind} | ({} if kind == "ephemeral" else {"payload": {"url": url}})
    return item(user, account, at_ms, message={"mid": new_mid(), "attachments": [attached]})


def deleted(user: str, account: str, at_ms: int | None = None) -> JsonObject:
    """Build the notice that a user deleted a message."""
    return item(user, account, at_ms, message={"mid": new_mid(), "is_deleted": True})


def unsupported(user: str, account: str, at_ms: int | None = None) -> JsonObject:
    """Build a DM whose kind the API does not show."""
    return item(user, account, at_ms, message={"mid": new_mid(), "is_unsupported": True})


def postback(user: str, account: str, at_ms: int | None = None) -> JsonObject:
    """Build the tap on an icebreaker or on the persistent menu."""
    tapped = {"mid": new_mid(), "title": "Talk to a human", "payload": "HUMAN"}
    return item(user, account, at_ms, postback=tapped)


def reaction(user: str, account: str, at_ms: int | None = None) -> JsonObject:
    """Build a heart under a message."""
    heart = {"mid": new_mid(), "action": "react", "reaction": "love", "emoji": "\u2764\ufe0f"}
    return item(user, account, at_ms, reaction=heart)


def referral(user: str, account: str, at_ms: int | None = None) -> JsonObject:
    """Build the opening of a thread by an ig.me link."""
    link = {"ref": "sample_ref", "source": "SHORTLINK", "type": "OPEN_THREAD"}
    return item(user, account, at_ms, referral=link)


def optin(user: str, account: str, at_ms: int | None = None) -> JsonObject:
    """Build the consent to recurring notifications."""
    agreed = {"type": "notification_messages", "payload": "P", "title": "Weekly news"}
    return item(user, account, at_ms, optin=agreed)


def read(user: str, account: str, at_ms: int | None = None) -> JsonObject:
    """Build the notice that a user has seen a message."""
    return item(user, account, at_ms, read={"mid": new_mid()})


def message_edit(
    user: str | None, account: str | None, at_ms: int | None = None, num_edit: int = 1
) -> JsonObject:
    """Build an edit; with num_edit 0 it comes without sender and recipient."""
    edit = {"mid": new_mid(), "text": "corrected", "num_edit": num_edit}
    return item(user, account, at_ms, message_edit=edit)


def thread_control(
    user: str, account: str, kind: str = "take", at_ms: int | None = None
) -> JsonObject:
    """Build the handover of a thread: kind is pass, take or request."""
    owners = {"previous_owner_app_id": _OWNER_APP, "new_owner_app_id": _OTHER_APP}
    return item(user, account, at_ms, **{f"{kind}_thread_control": owners})


def app_roles(account: str, at_ms: int | None = None) -> JsonObject:
    """Build the change of an app's role, which has a recipient only."""
    return item(None, account, at_ms, app_roles={_OWNER_APP: ["primary_receiver"]})


def comment(commenter: str, username: str = "sample.commenter") -> JsonObject:
    """Build a comment's value, for `change("comments", …)` or `flat_entry(…, "comments", …)`."""
    media = {"id": "17890000000000004", "media_product_type": "FEED"}
    who = {"id": commenter, "username": username}
    return {"from": who, "media": media, "id": "17865799348089039", "text": "A comment."}


def mention() -> JsonObject:
    """Build a mention's value, for `change("mentions", …)`."""
    return {"media_id": "17887498072083520"}


def story_insights() -> JsonObject:
    """Build a story's figures, for `change("story_insights", …)`."""
    return {"media_id": "17887498072083520", "impressions": 444, "reach": 44, "replies": 0}
