"""Copies pictures: two at a time per process, one at a time per user."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import structlog

from service.errors import UnavailableError, UnstorableError
from service.failing import log_unexpected
from service.identities.pictures.addresses import host_of
from service.identities.pictures.fetch import PictureError, PictureFetcher
from service.logs import TAG, SparingLog
from service.model.freshness import CachedIdentity, picture_expiry
from service.store.pictures import Kept, StoredPictures

AT_A_TIME = 2
MOST_WAITING = 10_000
_MOST_REMEMBERED = 10_000

log = structlog.get_logger()


class _Copy:
    """A requested copy, and the event that its callers wait for."""

    __slots__ = ("done", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.done = asyncio.Event()


class Pictures:
    """Copies pictures outside the Graph budget; requested pictures go first.

    A queued copy can be lost: a request for the picture, or the next fetch, queues it again.
    `count` gets the outcome of each copy. Without `is_copying` offers are ignored.
    """

    def __init__(
        self,
        fetcher: PictureFetcher,
        stored: StoredPictures,
        count: Callable[[str], None],
        *,
        is_copying: bool = True,
    ) -> None:
        self._fetcher = fetcher
        self.stored = stored
        self.hosts = fetcher.hosts
        self._count = count
        self._is_copying = is_copying
        self._urgent: OrderedDict[str, _Copy] = OrderedDict()
        self._later: OrderedDict[str, _Copy] = OrderedDict()
        self._under_way: dict[str, _Copy] = {}
        self._tried: OrderedDict[str, str] = OrderedDict()
        self._wake = asyncio.Event()
        self._sparing = SparingLog()

    @property
    def waiting(self) -> int:
        """How many copies wait."""
        return len(self._urgent) + len(self._later)

    def lacks(self, cached: CachedIdentity) -> bool:
        """Return whether the identity has a live picture that was not copied since its fetch."""
        url, copied_at = cached.profile_pic_url, cached.picture_copied_at
        if url is None or not self.hosts.allows(url):
            return False
        if copied_at is not None and copied_at >= (cached.last_fetched_at or copied_at):
            return False
        expires_at = picture_expiry(url)
        return expires_at is None or expires_at > cached.read_at

    def offer(self, ig_user_id: str, url: str) -> None:
        """Queue a copy; one that cannot be made is skipped and logged."""
        if not self._is_copying:
            return
        if not self.hosts.allows(url):
            self._sparing.warning(
                "pictures not copied: their host is not among PICTURE_HOSTS", host=host_of(url)
            )
            self._count("failed")
        elif self.waiting >= MOST_WAITING:
            self._sparing.warning("pictures not queued: too many are waiting", waiting=self.waiting)
        elif not self._is_wanted(ig_user_id, url):
            self._later[ig_user_id] = _Copy(url)
            self._wake.set()

    def offer_seen(self, cached: CachedIdentity) -> bool:
        """Queue the picture of an identity that was looked up, unless that was tried before.

        Returns whether there is a picture to copy.
        """
        url = cached.profile_pic_url if self._is_copying else None
        if url is None or self._tried.get(cached.ig_user_id) == url or not self.lacks(cached):
            return False
        self.offer(cached.ig_user_id, url)
        return True

    async def copy(self, ig_user_id: str, url: str, within_s: float) -> None:
        """Copy a picture before the queued ones; returns when done or after `within_s`."""
        copy = self._under_way.get(ig_user_id)
        if copy is None or copy.url != url:
            copy = self._urgent.get(ig_user_id)
        if copy is None or copy.url != url:
            if len(self._urgent) >= MOST_WAITING:
                self._sparing.warning("pictures not queued: too many are waiting")
                return
            self._later.pop(ig_user_id, None)
            copy = self._urgent[ig_user_id] = _Copy(url)
            self._wake.set()
        try:
            async with asyncio.timeout(within_s):
                await copy.done.wait()
        except TimeoutError:
            log.debug("a picture was not copied in time", ig_user_id=ig_user_id)

    def forget(self, ig_user_id: str) -> None:
        """Drop a user's queued copy; a running one is not stored if the user is erased."""
        for queue in (self._urgent, self._later):
            if copy := queue.pop(ig_user_id, None):
                copy.done.set()
        self._tried.pop(ig_user_id, None)

    async def run(self) -> None:
        """Copy until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(AT_A_TIME):
                group.create_task(self._work(), name=f"pictures-{number}")

    async def _work(self) -> None:
        while True:
            wanted = self._take()
            if wanted is None:
                self._wake.clear()
                await self._wake.wait()
            else:
                await self._copy(*wanted)

    def _take(self) -> tuple[str, _Copy] | None:
        for queue in (self._urgent, self._later):
            for ig_user_id in queue:
                if ig_user_id not in self._under_way:
                    copy = self._under_way[ig_user_id] = queue.pop(ig_user_id)
                    return ig_user_id, copy
        return None

    async def _copy(self, ig_user_id: str, copy: _Copy) -> None:
        try:
            outcome = await self._outcome(ig_user_id, copy.url)
        finally:
            del self._under_way[ig_user_id]
            copy.done.set()
            self._wake.set()  # another address of this user may be queued
        self._count(outcome)
        self._tried.pop(ig_user_id, None)
        self._tried[ig_user_id] = copy.url
        if len(self._tried) > _MOST_REMEMBERED:
            self._tried.popitem(last=False)

    async def _outcome(self, ig_user_id: str, url: str) -> str:
        try:
            kept = await self._fetch_and_keep(ig_user_id, url)
        except (PictureError, UnavailableError, UnstorableError) as error:
            log.info(f"{TAG} picture not copied", ig_user_id=ig_user_id, error=str(error))
            return "failed"
        except Exception as error:  # noqa: BLE001 - one picture must not stop the others
            log_unexpected(f"{TAG} picture not copied", error, ig_user_id=ig_user_id)
            return "error"
        log.debug(f"{TAG} picture {kept}", ig_user_id=ig_user_id)
        return kept

    async def _fetch_and_keep(self, ig_user_id: str, url: str) -> Kept:
        image = await self._fetcher.fetch(url)
        return await self.stored.keep(ig_user_id, url, image.content_type, image.body)

    def _is_wanted(self, ig_user_id: str, url: str) -> bool:
        """Return whether this address is already queued or being copied."""
        queues = (self._under_way, self._urgent, self._later)
        return any((copy := q.get(ig_user_id)) is not None and copy.url == url for q in queues)
