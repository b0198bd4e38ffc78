"""Limits wrong secrets: an address that sends too many in a minute gets 429."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from service.http.addresses import counted_as
from service.http.problems import ProblemError
from service.logs import SparingLog

WRONG_A_MINUTE = 20
_WINDOW_S = 60.0
_MOST_ADDRESSES = 10_000


class Guesses:
    """Counts one kind of wrong secret by IPv4 address or IPv6 /64, in bounded memory.

    Correct secrets are never counted, so they always pass.
    """

    def __init__(
        self,
        what: str,
        on_wrong: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._on_wrong = on_wrong
        self._clock = clock
        self._log = SparingLog()
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def refuse(self, address: str | None) -> None:
        """Count a wrong secret; raises 429 if its address has sent too many."""
        self._on_wrong()
        if self._count(counted_as(address)) > WRONG_A_MINUTE:
            self._log.warning(f"too many wrong {self._what}", address=address)
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Too many wrong {self._what} from this address; wait a minute.",
                {"Retry-After": str(int(_WINDOW_S))},
            )

    def _count(self, address: str) -> int:
        now = self._clock()
        times = [at for at in self._times.pop(address, []) if now - at < _WINDOW_S]
        times = [*times, now][-(WRONG_A_MINUTE + 1) :]
        self._times[address] = times
        if len(self._times) > _MOST_ADDRESSES:
            self._times.popitem(last=False)
        return len(times)
