from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.contacts import Contact
from service.receiving.intake.known import Known
from service.store.journal import Journalled
from tests.strategies import ACCOUNT

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
OTHER_ACCOUNT, USER = "17841400000000008", "5550000000000001"
HOUR = timedelta(hours=1)


def contact(user: str = USER, at: datetime = NOW, account: str = ACCOUNT) -> Contact:
    return Contact(account, user, at, at, wrote=True)


def journalled(
    user: str = USER,
    account: str = ACCOUNT,
    *,
    fresh_until: datetime | None = NOW + HOUR,
    is_scheduled: bool = False,
) -> Journalled:
    return Journalled(account, user, NOW, fresh_until, is_scheduled, is_due=False)


def remembering(*written: Journalled, capacity: int = 10) -> Known:
    known = Known(capacity)
    known.is_trusted = True
    for one in written:
        known.remember(one, known.mark())
    return known


def test_a_fresh_user_that_is_durable_needs_nothing() -> None:
    known = remembering(journalled())
    assert known.recall(contact(), NOW) == "fresh"
    assert known.recall(contact(), NOW + HOUR) is None


def test_a_user_whose_fetch_is_scheduled_needs_nothing() -> None:
    known = remembering(journalled(fresh_until=None, is_scheduled=True))
    assert known.recall(contact(), NOW) == "scheduled"


def test_a_user_who_is_neither_fresh_nor_scheduled_goes_to_the_tables() -> None:
    known = remembering(journalled(fresh_until=None))
    assert known.recall(contact(), NOW) is None
    assert known.is_durable(contact())


@pytest.mark.parametrize(
    ("later", "is_durable"),
    [
        (timedelta(), True),
        (HOUR, True),
        (HOUR + timedelta(seconds=1), False),
        (-HOUR, True),
        (-HOUR - timedelta(seconds=1), False),
    ],
)
def test_a_message_within_the_hour_of_the_stored_one_is_durable(
    later: timedelta, *, is_durable: bool
) -> None:
    assert remembering(journalled()).is_durable(contact(at=NOW + later)) == is_durable


def test_each_account_of_a_user_is_durable_by_itself() -> None:
    known = remembering(journalled())
    assert not known.is_durable(contact(account=OTHER_ACCOUNT))
    known.remember(journalled(account=OTHER_ACCOUNT), known.mark())
    assert known.is_durable(contact(account=OTHER_ACCOUNT))
    assert len(known) == 1


def test_nothing_is_trusted_while_notices_may_be_missed() -> None:
    known = remembering(journalled())
    known.is_trusted = False
    assert known.recall(contact(), NOW) is None


def test_memory_is_not_trusted_before_it_is_told_so() -> None:
    assert Known().is_trusted is False


FORGETTING: list[Callable[[Known], None]] = [lambda known: known.evict(USER), Known.clear]


@pytest.mark.parametrize("forget", FORGETTING)
def test_what_is_erased_is_forgotten(forget: Callable[[Known], None]) -> None:
    known = remembering(journalled())
    forget(known)
    assert not known.is_durable(contact())
    assert len(known) == 0


@pytest.mark.parametrize("forget", FORGETTING)
def test_what_is_erased_while_it_is_written_is_not_remembered(
    forget: Callable[[Known], None],
) -> None:
    known = remembering()
    mark = known.mark()
    forget(known)
    known.remember(journalled(), mark)
    assert not known.is_durable(contact())


CHANGES: list[Callable[[Known], None]] = [
    lambda known: known.update(USER, None),
    lambda known: known.update(USER, NOW + HOUR),
    Known.forget_freshness,
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_identity_that_changes_while_its_user_is_written_is_not_remembered_as_it_was(
    change: Callable[[Known], None],
) -> None:
    known = remembering()
    mark = known.mark()
    change(known)
    known.remember(journalled(fresh_until=NOW + 2 * HOUR), mark)
    assert known.recall(contact(), NOW) is None


def test_a_change_of_one_user_leaves_what_is_written_of_others() -> None:
    known = remembering()
    mark = known.mark()
    known.update("5550000000000002", None)
    known.evict("5550000000000003")
    known.remember(journalled(), mark)
    assert known.recall(contact(), NOW)


def test_a_write_that_missed_more_changes_than_are_kept_is_not_remembered() -> None:
    known = remembering()
    mark = known.mark()
    known.update(USER, None)
    for number in range(10_000):
        known.update(f"{number}", NOW)
    known.remember(journalled(), mark)
    assert not known.is_durable(contact())
    known.remember(journalled(), known.mark())
    assert known.is_durable(contact())


def test_a_changed_identity_ends_the_schedule_and_sets_its_freshness() -> None:
    known = remembering(
        journalled(fresh_until=None, is_scheduled=True),
        journalled(account=OTHER_ACCOUNT, fresh_until=None, is_scheduled=True),
    )
    known.update(USER, NOW + HOUR)
    for account in (ACCOUNT, OTHER_ACCOUNT):
        assert known.recall(contact(account=account), NOW) == "fresh"


def test_a_change_of_a_user_who_is_not_known_is_nothing() -> None:
    known = remembering()
    known.update(USER, NOW)
    assert len(known) == 0


def test_where_any_identity_may_have_changed_everyone_goes_to_the_tables() -> None:
    users = ["5550000000000001", "5550000000000002"]
    known = remembering(*map(journalled, users))
    known.forget_freshness()
    assert not any(known.recall(contact(user), NOW) for user in users)
    assert all(known.is_durable(contact(user)) for user in users)


def test_beyond_the_capacity_who_was_seen_longest_ago_is_forgotten() -> None:
    known = remembering(*map(journalled, "12"), capacity=2)
    assert known.is_durable(contact("1"))
    known.remember(journalled("3"), known.mark())
    assert [known.is_durable(contact(user)) for user in "123"] == [True, False, True]


@given(
    st.lists(st.tuples(st.sampled_from(["remember", "evict", "look"]), st.sampled_from("12345")))
)
def test_memory_is_bounded_and_holds_only_what_was_written_since_its_erasure(
    steps: list[tuple[str, str]],
) -> None:
    known, written = remembering(capacity=3), set()
    for step, user in steps:
        if step == "remember":
            known.remember(journalled(user), known.mark())
            written.add(user)
        elif step == "evict":
            known.evict(user)
            written.discard(user)
        assert len(known) <= 3
        assert {one for one in "12345" if known.is_durable(contact(one))} <= written
