"""The pictures of the simulated picture host, and its wrong answers."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qs, urlsplit

from sandbox.graph.faces import face

META_ORIGIN = "https://scontent.cdninstagram.com"
PictureAnswer = Literal[
    "error_500",
    "not_found",
    "redirect",
    "redirect_loop",
    "redirect_out",
    "redirect_private",
    "redirect_nowhere",
    "html",
    "svg",
    "mislabelled",
    "empty",
    "huge",
    "huge_stream",
    "truncated",
    "slow",
    "hang",
    "reset",
]
PICTURE_ANSWERS: tuple[str, ...] = get_args(PictureAnswer)


@dataclass(frozen=True, slots=True)
class PictureCall:
    """A request for a picture, and the answer's name: "picture", "expired" or a script's."""

    ig_user_id: str
    path: str
    headers: dict[str, str]
    answer: str


class Album:
    """The state of the picture host; `origin` is the origin of its URLs."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.origin = META_ORIGIN
        self.released = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """Reset all pictures, and forget the calls."""
        self.calls: list[PictureCall] = []
        self._bodies: dict[str, bytes] = {}
        self._answers: dict[str, str] = {}
        self._addresses = 0
        self.release()

    def url(self, ig_user_id: str, expires_at: float) -> str:
        """Return a URL whose `oe` is the expiry; it differs at each call, as Meta's do."""
        self._addresses += 1
        return picture_url(ig_user_id, expires_at, self.origin) + f"&_nc_gid=g{self._addresses}"

    def set_picture(self, ig_user_id: str, body: bytes | None) -> None:
        """Serve these bytes for a user; None restores the generated face."""
        self._bodies.pop(ig_user_id, None)
        if body is not None:
            self._bodies[ig_user_id] = body

    def set_answer(self, answer: PictureAnswer | None, *, user: str = "") -> None:
        """Give this answer for a user or for all; None restores normal answers."""
        if answer is None:
            self._answers.pop(user, None)
        elif answer in PICTURE_ANSWERS:
            self._answers[user] = answer
        else:
            raise ValueError(f"no picture answer is called {answer!r}: {PICTURE_ANSWERS}")

    def hold(self) -> None:
        """Accept requests but answer none until `release`."""
        self.released.clear()

    def release(self) -> None:
        """Answer the held requests, and continue normally."""
        self.released.set()

    def answer(self, ig_user_id: str, url: str) -> str:
        """Return the answer to a request: a script's, "expired" after `oe`, or "picture"."""
        script = self._answers.get(ig_user_id) or self._answers.get("")
        if script is not None:
            return script
        oe = parse_qs(urlsplit(url).query).get("oe", ["FFFFFFFF"])[0]
        return "expired" if int(oe, 16) <= self._now() else "picture"

    def body(self, ig_user_id: str) -> bytes:
        """Return a user's picture."""
        return self._bodies.get(ig_user_id) or face(ig_user_id)

    def calls_for(self, ig_user_id: str) -> list[PictureCall]:
        """Return the requests for one user's picture, oldest first."""
        return [call for call in self.calls if call.ig_user_id == ig_user_id]


def picture_url(ig_user_id: str, expires_at: float, origin: str = META_ORIGIN) -> str:
    """Return a CDN URL whose `oe` is the expiry in hexadecimal Unix seconds."""
    return (
        f"{origin}/v/t51.2885-19/{ig_user_id}_n.jpg"
        f"?stp=dst-jpg_s150x150&_nc_cat=1&oh=00_Sample{ig_user_id[-6:]}&oe={int(expires_at):X}"
    )
