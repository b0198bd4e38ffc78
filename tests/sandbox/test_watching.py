from datetime import UTC, datetime, timedelta

import msgspec

from sandbox.service_client import Pause, Person, WrittenTo
from sandbox.watching import Snapshot, changes

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACCOUNT = "17841400000000007"
WRITER = Person(
    ig_user_id="77",
    display_name="@user_77",
    state="pending",
    reason=None,
    picture_url=None,
    stale=False,
    is_placeholder=True,
    last_fetched_at=None,
    accounts=[WrittenTo(ACCOUNT, NOON)],
)
NAMED = msgspec.structs.replace(
    WRITER,
    display_name="@jane.doe",
    state="resolved",
    is_placeholder=False,
    last_fetched_at=NOON + timedelta(seconds=0.3),
)
REFUSED = msgspec.structs.replace(WRITER, reason="consent_required")
NOBODY = Snapshot()


def _with(*people: Person) -> Snapshot:
    return Snapshot.of(people, [])


def test_a_dm_has_a_line_with_the_name_it_got() -> None:
    assert changes(NOBODY, _with(NAMED)) == ["DM        77: @jane.doe, 0.30 s after the DM"]


def test_a_name_that_comes_later_has_a_line_of_its_own() -> None:
    assert changes(NOBODY, _with(WRITER)) == ["DM        77: no name yet"]
    assert changes(_with(WRITER), _with(NAMED)) == ["NAME      77: @jane.doe, 0.30 s after the DM"]


def test_why_there_is_no_name_is_said_once() -> None:
    words = "no name: Meta has no consent of the person yet"
    assert changes(_with(WRITER), _with(REFUSED)) == [f"NO NAME   77: {words}"]
    throttled = msgspec.structs.replace(REFUSED, reason="throttled")
    assert changes(_with(REFUSED), _with(throttled)) == []
    assert changes(_with(throttled), _with(REFUSED)) == []


def test_each_further_dm_of_a_known_person_has_a_line() -> None:
    again = msgspec.structs.replace(
        NAMED, accounts=[WrittenTo(ACCOUNT, NOON + timedelta(minutes=1))]
    )
    assert changes(_with(NAMED), _with(again)) == ["DM        77: @jane.doe, known already"]
    assert changes(_with(again), _with(again)) == []


def test_pauses_have_a_line_as_they_come_and_as_they_go() -> None:
    paused = Snapshot.of([], [Pause("app", NOON, "throttled")])
    end = f"{NOON.astimezone():%H:%M:%S}"
    words = "Meta's rate limit is used up"
    assert changes(NOBODY, paused) == [f"PAUSED    all calls: {words}, until {end}"]
    assert changes(paused, paused) == []
    assert changes(paused, NOBODY) == [f"RESUMED   all calls ({words})"]


def test_a_pause_without_end_says_what_ends_it() -> None:
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    [line] = changes(NOBODY, Snapshot.of([], [Pause(f"account:{ACCOUNT}", never, "token_invalid")]))
    assert line.startswith(f"PAUSED    calls for account {ACCOUNT}: ")
    assert line.endswith(", until a new token is stored")
