"""What tests are fed with: hostile JSON, webhook items whole and hurt, and time that jumps."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import strategies as st

from sandbox import samples
from sandbox.samples import JsonObject

Result = TypeVar("Result")
ACCOUNT = "17841400000000007"
MS_IN_2026 = 1_767_225_600_000
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(max_size=20)
    | st.text(st.characters(categories=["Cs", "Cc", "Cf"]), max_size=4)
)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
DEPTHS = st.sampled_from([10, 200, 500, 700, 950, 1100, 5000])

TEXT = st.text(st.characters(codec="utf-8"))
IDS = st.integers(1, 10**32 - 1).map(str)
USERS = st.integers(5_550_000_000_000_000, 5_550_000_000_000_020).map(str)
TIMES_MS = st.integers(MS_IN_2026, MS_IN_2026 + 10**10)
NO_ID = JSON_VALUES.filter(
    lambda value: not isinstance(value, int | str) or isinstance(value, bool)
) | st.sampled_from(["", " ", "1" * 33, "12a", "-5", "٣٤", "1\n", -1, 10**32, 1.5])

_Maker = Callable[..., JsonObject]
_MAKERS: list[_Maker] = [
    samples.message,
    samples.attachment,
    samples.deleted,
    samples.unsupported,
    samples.postback,
    samples.reaction,
    samples.referral,
    samples.optin,
]


@st.composite
def items(draw: st.DrawFn) -> JsonObject:
    """An item that makes a participant, written by a user or by the account."""
    user, at_ms = draw(USERS), draw(TIMES_MS)
    if draw(st.booleans()):
        item = draw(st.sampled_from(_MAKERS))(user, ACCOUNT, at_ms=at_ms)
    else:
        item = samples.echo(ACCOUNT, user, at_ms=at_ms)
    for part in item.values():
        if isinstance(part, dict) and "mid" in part:
            part["mid"] = "mid"  # drawn again, an item is the same to the byte
    return item


@st.composite
def hurt_items(draw: st.DrawFn) -> object:
    """An item of which nobody could tell the user any more."""
    item = draw(items())
    is_echo = item["sender"] == {"id": ACCOUNT}
    role = "recipient" if is_echo else "sender"
    kind = next(key for key in item if key not in {"sender", "recipient", "timestamp"})
    no_object = JSON_VALUES.filter(lambda value: not isinstance(value, dict))
    match draw(st.sampled_from(["item", "party", "no party", "id", "kind"])):
        case "item":
            return draw(no_object)
        case "party":
            return item | {role: draw(no_object)}
        case "no party":
            return {key: value for key, value in item.items() if key != role}
        case "id":
            return item | {role: {"id": draw(NO_ID)}}
        case _:
            return item | {kind: draw(no_object)}


@st.composite
def mutated_items(draw: st.DrawFn) -> object:
    """An item with anything at all in one of its slots; it may still be read."""
    item = json.loads(json.dumps(draw(items() | hurt_items())))
    slot = item
    while isinstance(slot, dict) and slot:
        key = draw(st.sampled_from(sorted(slot)))
        if not isinstance(slot[key], dict) or draw(st.booleans()):
            slot[key] = draw(JSON_VALUES)
            break
        slot = slot[key]
    return item


@st.composite
def mutated_bytes(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body with one stretch of it cut out or written over."""
    body = draw(bodies)
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(len(body), start + 20)))
    return body[:start] + draw(st.binary(max_size=8)) + body[end:]


def nested(depth: int) -> bytes:
    """JSON text of an array in an array, and so on."""
    return b"[" * depth + b"]" * depth


class JumpingLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: when all that is left to do is a timer, its clock jumps there."""

    jumped_s = 0.0

    def time(self) -> float:
        return super().time() + self.jumped_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            due = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
            self.jumped_s += max(0.0, min(due, default=0.0) - self.time())
        super()._run_once()  # type: ignore[misc]


def in_jumping_time(main: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end without waiting for the clock."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Like JumpingLoop, but the time that the machine takes does not count at all."""

    now_s = 1000.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def in_simulated_time(main: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end in simulated time; `main` must wait for timers alone."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
