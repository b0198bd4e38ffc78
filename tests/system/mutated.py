"""Mutates real bodies, as JSON trees and as bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

from sandbox import samples
from sandbox.graph.albums import picture_url
from sandbox.graph.answers import ANSWERS, ErrorAnswer, RawAnswer, TwistedProfile
from sandbox.graph.profiles import made_up_profile

Slot = tuple[str | int, ...]

ACCOUNT = "17841499000000001"
USERS = tuple(str(7_000_000_000_000_000 + number) for number in range(50))
_MOST_MUTATIONS = 6
_NASTY: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 10**18, 10**32, 2**63, 2**64,
    "", " ", "0", "-1", "\0", "\ud83d", "\u202e", "\uff11", "x" * 70_000, "1" * 32, "1" * 33,
    [], {}, [[]], [None], {"id": None}, {"id": {"id": "1"}}, [1, "a", {}],
    "1970-01-01", 99_999_999_999, 100_000_000_000, 253_402_300_800_000, "9" * 400,
    ACCOUNT, *USERS[:5], {"id": USERS[0]}, {"id": int(USERS[1])},
)  # fmt: skip
_KEYS = (
    "object", "entry", "id", "time", "messaging", "standby", "changes", "field", "value", "sender",
    "recipient", "timestamp", "message", "postback", "reaction", "referral", "optin", "read",
    "is_echo", "is_self", "error", "code", "error_subcode", "message", "is_transient", "name",
    "username", "profile_pic", "", "__proto__", "x" * 300,
)  # fmt: skip
_BYTES = (b"\0", b"\xff", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\ud83d", b"1e999")


def _items() -> list[samples.JsonObject]:
    user = USERS[0]
    made = (
        samples.message, samples.attachment, samples.deleted, samples.unsupported,
        samples.postback, samples.reaction, samples.referral, samples.optin, samples.read,
        samples.message_edit, samples.thread_control,
    )  # fmt: skip
    return [
        *(make(user, ACCOUNT) for make in made),
        samples.echo(ACCOUNT, user),
        samples.self_message(ACCOUNT),
        samples.app_roles(ACCOUNT),
    ]


def deliveries() -> list[bytes]:
    """Return a delivery of each kind that Meta sends, and one with all of them."""
    items = _items()
    entries = [
        samples.entry(ACCOUNT, *items),
        samples.standby_entry(ACCOUNT, *items),
        samples.changes_entry(ACCOUNT, *(samples.change("messages", item) for item in items)),
        samples.flat_entry(ACCOUNT, "comments", samples.comment(USERS[1])),
    ]
    alone = [samples.delivery(samples.entry(ACCOUNT, item)) for item in items]
    return [*alone, samples.delivery(*entries), samples.dashboard_test()]


def graph_answers() -> list[bytes]:
    """Return the simulator's bodies, valid and wrong ones."""
    picture = picture_url(USERS[0], samples.now_ms() / 1000)
    profile = made_up_profile(USERS[0]) | {"profile_pic": picture}
    bodies = [json.dumps(profile).encode()]
    for answer in ANSWERS.values():
        if isinstance(answer, ErrorAnswer):
            bodies.append(answer.body("facebook", "trace"))
        elif isinstance(answer, TwistedProfile):
            bodies.append(answer.twist(dict(profile)))
        elif isinstance(answer, RawAnswer):
            bodies.append(answer.body)
    return [body for body in bodies if len(body) < 100_000]


@st.composite
def mutated(draw: st.DrawFn, bodies: Sequence[bytes]) -> bytes:
    """Mutate one of the bodies, as a tree, as bytes, or both."""
    body = bodies[draw(st.integers(0, len(bodies) - 1))]
    try:
        tree = json.loads(body)
    except ValueError:
        tree = None
    if tree is not None and draw(st.integers(0, 9)) > 0:
        for _ in range(draw(st.integers(0, _MOST_MUTATIONS))):
            tree = _bend(draw, tree)
        body = json.dumps(tree, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        body = _tear(draw, body)
    return body


def ids_in(body: bytes) -> set[str]:
    """Find all that could be meant as an id; everything where the body can't be read."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return set()
    leaves = (str(leaf) for leaf in _leaves(tree) if isinstance(leaf, str | int))
    return {leaf for leaf in leaves if leaf.isascii() and leaf.isdigit() and len(leaf) <= 32}


def _bend(draw: st.DrawFn, tree: Any) -> Any:  # noqa: ANN401 - any JSON
    """Change one slot of a tree: replace, remove, duplicate, wrap, rename or add."""
    slots = list(_slots(tree))
    if not slots:
        return draw(_NASTY_VALUES)
    *way, last = draw(st.sampled_from(slots))
    parent: Any = tree
    for step in way:
        parent = parent[step]
    match draw(st.sampled_from(["replace", "remove", "double", "wrap", "rename", "add"])):
        case "replace":
            parent[last] = draw(_NASTY_VALUES | _SCALARS)
        case "remove":
            del parent[last]
        case "double" if isinstance(parent, list) and isinstance(last, int):
            doubles = draw(st.sampled_from([1, 2, 50]))
            parent.extend(copy.deepcopy(parent[last]) for _ in range(doubles))
        case "wrap":
            parent[last] = draw(st.sampled_from([[parent[last]], {"id": parent[last]}]))
        case "rename" if isinstance(parent, dict):
            parent[draw(st.sampled_from(_KEYS))] = parent.pop(last)
        case _ if isinstance(parent, dict):
            parent[draw(st.sampled_from(_KEYS))] = draw(_NASTY_VALUES)
    return tree


def _tear(draw: st.DrawFn, body: bytes) -> bytes:
    """Change a few bytes: cut, flip, insert or repeat."""
    at = draw(st.integers(0, len(body)))
    match draw(st.sampled_from(["cut", "flip", "insert", "repeat"])):
        case "cut":
            return body[:at]
        case "flip" if at < len(body):
            return body[:at] + bytes([body[at] ^ draw(st.integers(1, 255))]) + body[at + 1 :]
        case "insert":
            return body[:at] + draw(st.sampled_from(_BYTES)) + body[at:]
    return body[:at] + body[max(0, at - 40) : at] * draw(st.sampled_from([1, 2, 200])) + body[at:]


def _slots(tree: object, way: Slot = ()) -> Iterator[Slot]:
    pairs: Any = ()
    if isinstance(tree, dict):
        pairs = tree.items()
    elif isinstance(tree, list):
        pairs = enumerate(tree)
    for step, value in pairs:
        yield (*way, step)
        yield from _slots(value, (*way, step))


def _leaves(tree: object) -> Iterator[object]:
    if isinstance(tree, dict):
        yield from tree.keys()
    if isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(value)
    else:
        yield tree


# copied, so that a changed value does not affect the next example
_NASTY_VALUES = st.integers(0, len(_NASTY) - 1).map(lambda at: copy.deepcopy(_NASTY[at]))
_SCALARS = (
    st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.text("0123456789", min_size=1, max_size=34)
)
