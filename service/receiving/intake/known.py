"""What this replica remembers to be durable: participants that cost no database work."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal

import msgspec

from service.revisions import Revisions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from service.model.contacts import Contact
    from service.store.journal import Journalled

CAPACITY = 100_000
_STORED_WITHIN_S = 3600.0


Recalled = Literal["fresh", "scheduled"]
_NOT_FRESH, _SCHEDULED = 0.0, math.inf


class _Entry(msgspec.Struct, gc=False):
    """A participant, in Unix times, and the same user's others.

    `fresh_until_s` is infinite while a first fetch stands in the tables. Linked, 100,000 users take
    20 MB; a tuple of entries for each user would save four lines and take 24 MB.
    """

    ig_account_id: str
    last_message_s: float
    fresh_until_s: float
    next: _Entry | None


class _Recent:
    """Entries by user, at most `capacity`; users not seen for long are forgotten, by halves.

    Two plain dicts hold a user in 80 bytes less than an OrderedDict does.
    """

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._young: dict[str, _Entry] = {}
        self._old: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, ig_user_id: str) -> _Entry | None:
        """Find a user, who has now been seen."""
        entry = self._young.get(ig_user_id)
        if entry is None and (entry := self._old.pop(ig_user_id, None)) is not None:
            self.put(ig_user_id, entry)
        return entry

    def put(self, ig_user_id: str, entry: _Entry) -> None:
        """Take a user in who is not there, or replace one who has just been seen."""
        if len(self._young) >= self._half and ig_user_id not in self._young:
            self._young, self._old = {}, self._young
        self._young[ig_user_id] = entry

    def pop(self, ig_user_id: str) -> None:
        """Forget a user."""
        self._young.pop(ig_user_id, None)
        self._old.pop(ig_user_id, None)

    def clear(self) -> None:
        """Forget everyone."""
        self._young, self._old = {}, {}

    def entries(self) -> Iterator[_Entry]:
        """Go through everyone's."""
        for head in itertools.chain(self._young.values(), self._old.values()):
            yield from _chain(head)


def _chain(head: _Entry | None) -> Iterator[_Entry]:
    while head is not None:
        yield head
        head = head.next


class Known:
    """Recently seen participants that are known to be committed.

    It is trusted only while notices of erasures and changes reach this replica.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._by_user = _Recent(capacity)
        self._revisions = Revisions()
        self.is_trusted = False

    def __len__(self) -> int:
        return len(self._by_user)

    def recall(self, contact: Contact, now: datetime) -> Recalled | None:
        """Tell why the contact needs no statement; None if it needs one.

        The tables hold all that it says, and either the identity is fresh or the user's first
        fetch stands in the tables and is not yet made.
        """
        entry = self._find(contact) if self.is_trusted else None
        if entry is None or now.timestamp() >= entry.fresh_until_s:
            return None
        return "scheduled" if entry.fresh_until_s == _SCHEDULED else "fresh"

    def is_durable(self, contact: Contact) -> bool:
        """Tell whether the participant is committed, the time within the hour."""
        return self._find(contact) is not None

    def mark(self) -> int:
        """Take a mark before writing: users who change after it are not remembered."""
        return self._revisions.mark()

    def remember(self, written: Journalled, mark: int) -> None:
        """Remember what was committed since the mark was taken.

        A user who has changed since (erased, fetched, renewed by hand) is left alone: the
        statement may have read the state before, the notice may have come first.
        """
        if self._revisions.may_have_changed(written.ig_user_id, mark):
            return
        entry = self._stored(written.ig_user_id, written.ig_account_id)
        if entry is None:
            others = self._by_user.get(written.ig_user_id)
            entry = _Entry(written.ig_account_id, 0.0, _NOT_FRESH, others)
            self._by_user.put(written.ig_user_id, entry)
        entry.last_message_s = written.last_message_at.timestamp()
        entry.fresh_until_s = _SCHEDULED if written.is_scheduled else _unix(written.fresh_until)

    def update(self, ig_user_id: str, fresh_until: datetime | None) -> None:
        """Note that a user's identity has changed."""
        self._revisions.note(ig_user_id)
        for entry in _chain(self._by_user.get(ig_user_id)):
            entry.fresh_until_s = _unix(fresh_until)

    def evict(self, ig_user_id: str) -> None:
        """Forget a user, also what is being written."""
        self._revisions.note(ig_user_id)
        self._by_user.pop(ig_user_id)

    def clear(self) -> None:
        """Forget everyone."""
        self._revisions.note_all()
        self._by_user.clear()

    def forget_freshness(self) -> None:
        """Note that any identity may have changed."""
        self._revisions.note_all()
        for entry in self._by_user.entries():
            entry.fresh_until_s = _NOT_FRESH

    def _find(self, contact: Contact) -> _Entry | None:
        entry = self._stored(contact.ig_user_id, contact.ig_account_id)
        if entry is None or contact.last_at.timestamp() - entry.last_message_s > _STORED_WITHIN_S:
            return None
        is_near = entry.last_message_s - contact.first_at.timestamp() <= _STORED_WITHIN_S
        return entry if is_near else None

    def _stored(self, ig_user_id: str, ig_account_id: str) -> _Entry | None:
        entry = self._by_user.get(ig_user_id)
        while entry is not None and entry.ig_account_id != ig_account_id:
            entry = entry.next
        return entry


def _unix(fresh_until: datetime | None) -> float:
    return _NOT_FRESH if fresh_until is None else fresh_until.timestamp()
