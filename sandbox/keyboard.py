"""The keyboard commands of a running sandbox."""

import asyncio

from sandbox.graph.meanings import MEANINGS, USUAL
from sandbox.problems import SandboxError
from sandbox.report import Report
from sandbox.service_client import ServiceClient
from sandbox.terminal import Browser
from sandbox.watching import scope_name, until_when

KEYS = {
    "d": "a DM from a stranger",
    "b": "break Meta",
    "m": "mend Meta",
    "o": "open the console",
    "q": "quit",
}
_OF_THE_SIMULATOR = frozenset("dbm")


class Keyboard:
    """Handles keys one after another; with the real Graph API only `o` and `q` have an effect."""

    def __init__(
        self,
        client: ServiceClient,
        report: Report,
        url: str,
        *,
        has_simulator: bool,
        browser: Browser | None = None,
    ) -> None:
        self._client = client
        self._report = report
        self._url = url
        self._browser = browser or Browser()
        self._keys = {
            key: does for key, does in KEYS.items() if has_simulator or key not in _OF_THE_SIMULATOR
        }
        self._is_choosing = False

    @property
    def hint(self) -> str:
        """Return the keys in one line."""
        return "Keys:  " + "   ".join(f"{key} {does}" for key, does in self._keys.items())

    async def act(self, keys: asyncio.Queue[str]) -> None:
        """Handle each key until `q`."""
        while (key := (await keys.get()).lower()) != "q":
            try:
                await self._press(key)
            except SandboxError as error:
                self._report.trouble(str(error))

    async def _press(self, key: str) -> None:
        if self._is_choosing:
            await self._choose(key)
        elif key not in self._keys:
            self._report.line(self.hint)
        elif key == "d":
            await self._client.send_from_stranger()
        elif key == "b":
            self._offer()
        elif key == "m":
            await self._mend()
        else:
            self._open()

    def _offer(self) -> None:
        self._is_choosing = True
        self._report.line("How shall Meta break?")
        for number, answer in enumerate(USUAL, start=1):
            self._report.line(f"  {number}  {answer:<17} {MEANINGS[answer].says}")
        self._report.line(
            f"Press a number, or another key to leave it. {self._url}/console#breaking has all "
            f"{len(MEANINGS)} answers."
        )

    async def _choose(self, key: str) -> None:
        self._is_choosing = False
        if not (key.isdecimal() and 1 <= int(key) <= len(USUAL)):
            self._report.line("Nothing was changed.")
            return
        told = await self._client.break_meta(USUAL[int(key) - 1])
        self._report.event(f"BROKEN    Every call is answered with {told.answer}: {told.says}")
        self._report.line(f"  Expect:    {told.expect}")
        self._report.line(f"  How long:  {told.lasts}")
        self._report.line("  Try d, then m to mend.")

    async def _mend(self) -> None:
        """Reset the simulator's answers, or, if they are normal, end the pauses."""
        if not await self._client.is_meta_broken() and await self._client.pauses():
            await self._client.end_pauses()
            self._report.event("MENDED    Every pause is ended.")
            return
        await self._client.mend_meta()
        self._report.event("MENDED    Meta answers normally.")
        for pause in await self._client.pauses():
            self._report.line(
                f"  The service has still paused {scope_name(pause.scope)}, {until_when(pause)}; "
                "then one call looks whether Meta is well. Press m again to end the pause now."
            )

    def _open(self) -> None:
        page = f"{self._url}/"
        if self._browser.open(page):
            self._report.line(f"Opening {page} in your browser.")
        else:
            self._report.line(f"No browser can be opened from here. The console is at {page}")
