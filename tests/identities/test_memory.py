"""Lookups from memory show nobody who is erased, and nothing older than the last notice."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.identities.memory import LookupMemory, Mark

USERS = st.sampled_from(["1", "2", "3"])


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> LookupMemory:
    memory = LookupMemory(capacity=4, clock=clock)
    memory.is_trusted = True
    return memory


def test_an_identity_is_found_until_it_expires(memory: LookupMemory, clock: Clock) -> None:
    mark = memory.mark()
    clock.now_s = 2.0  # the read took two of its ten seconds
    memory.remember("1", b"{}", 10, mark)
    assert memory.find("1") == b"{}"
    clock.now_s = 10.0
    assert memory.find("1") is None


def test_what_changes_while_it_is_read_is_not_remembered(memory: LookupMemory) -> None:
    mark = memory.mark()
    memory.evict("1")
    memory.remember("1", b"old", 10, mark)
    memory.remember("2", b"as it is", 10, mark)
    assert (memory.find("1"), memory.find("2")) == (None, b"as it is")
    mark = memory.mark()
    memory.clear()
    memory.remember("2", b"old", 10, mark)
    assert memory.find("2") is None


def test_nothing_is_found_or_remembered_while_notices_may_be_missed(memory: LookupMemory) -> None:
    memory.remember("1", b"{}", 10, memory.mark())
    memory.is_trusted = False
    memory.remember("2", b"{}", 10, memory.mark())
    assert memory.find("1") is None
    memory.is_trusted = True
    assert (memory.find("1"), memory.find("2")) == (b"{}", None)


def test_who_is_asked_for_stays_and_the_others_are_forgotten(memory: LookupMemory) -> None:
    for number in range(100):
        memory.remember(str(number), b"{}", 10, memory.mark())
        assert memory.find("0") == b"{}"
        assert len(memory) <= 4
    assert memory.find("50") is None


class Replica(RuleBasedStateMachine):
    """One user's tables, the notices on their way in order, and a replica that looks users up.

    A lookup reads the table at one moment and remembers at a later one. Notices may be late; when
    they may have been lost, the replica stops trusting, and starts again empty.
    """

    def __init__(self) -> None:
        super().__init__()
        self.memory = LookupMemory(capacity=4, clock=lambda: 0.0)
        self.memory.is_trusted = True
        self.table: dict[str, bytes] = {}
        self.heard: dict[str, int] = {}  # the version that the last notice heard spoke of
        self.version = 0
        self.written: dict[str, int] = {}  # the version of each user's last write
        self.on_their_way: list[tuple[str, int]] = []
        self.reading: list[tuple[str, bytes | None, Mark]] = []

    def _write(self, user: str, body: bytes | None) -> None:
        self.version += 1
        if body is None:
            self.table.pop(user, None)
        else:
            self.table[user] = body
        self.written[user] = self.version
        self.on_their_way.append((user, self.version))

    @rule(user=USERS)
    def settle(self, user: str) -> None:
        self._write(user, str(self.version + 1).encode())

    @rule(user=USERS)
    def erase_elsewhere(self, user: str) -> None:
        self._write(user, None)

    @rule(user=USERS)
    def erase_here(self, user: str) -> None:
        self.memory.evict(user)
        self._write(user, None)
        self.memory.evict(user)
        self.heard[user] = self.version

    @rule()
    def hear(self) -> None:
        if self.on_their_way:
            user, version = self.on_their_way.pop(0)
            self.memory.evict(user)
            self.heard[user] = max(version, self.heard.get(user, 0))

    @rule()
    def lose_the_connection(self) -> None:
        self.memory.is_trusted = False
        self.on_their_way.clear()

    @rule()
    def connect_again(self) -> None:
        if not self.memory.is_trusted:
            self.memory.clear()
            self.memory.is_trusted = True
            self.heard = dict(self.written)

    @rule(user=USERS)
    def begin_to_read(self, user: str) -> None:
        mark = self.memory.mark()
        self.reading.append((user, self.table.get(user), mark))

    @rule()
    def remember_what_was_read(self) -> None:
        if self.reading:
            user, body, mark = self.reading.pop()
            if body is not None:
                self.memory.remember(user, body, 10, mark)

    @invariant()
    def nothing_older_than_the_last_notice_is_shown(self) -> None:
        for user in ("1", "2", "3"):
            shown = self.memory.find(user)
            if shown is not None:
                assert int(shown) >= self.heard.get(user, 0)


TestReplica = Replica.TestCase
