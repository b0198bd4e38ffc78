"""A running sandbox: prints events, handles keys, and watches its processes."""

import asyncio
from collections.abc import Mapping, Sequence

from sandbox.child import ServiceProcess
from sandbox.environment import first
from sandbox.keyboard import Keyboard
from sandbox.report import Report
from sandbox.service_client import ServiceClient
from sandbox.terminal import pressed_keys
from sandbox.watching import look, watch


def service_client(url: str, settings: Mapping[str, str]) -> ServiceClient:
    """Return a client of the service that was started with these settings."""
    return ServiceClient(
        url,
        inbox_key=first(settings["INBOX_API_KEYS"]),
        operator_key=first(settings["OPERATOR_API_KEYS"]),
        app_secret=first(settings["META_APP_SECRETS"]),
    )


async def stay_up(
    client: ServiceClient, report: Report, replicas: Sequence[ServiceProcess], keyboard: Keyboard
) -> None:
    """Print events until `q` is pressed; raises SandboxError when the last replica ends."""
    before = await look(client)  # before anybody can press a key that changes something
    async with pressed_keys() as keys:
        report.line(f"\nThe sandbox stays up until {'q or ' if keys else ''}Ctrl-C.")
        works = [_tell_of_ends(report, replicas), watch(client, report, before)]
        if keys is not None:
            report.line(keyboard.hint)
            works.append(keyboard.act(keys))
        await _until_one_ends([asyncio.create_task(work) for work in works])


async def _until_one_ends(tasks: Sequence[asyncio.Task[None]]) -> None:
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell_of_ends(report: Report, replicas: Sequence[ServiceProcess]) -> None:
    """Print each replica that ends; raises SandboxError with the last."""
    watches = {asyncio.create_task(replica.wait_until_ended()) for replica in replicas}
    try:
        while watches:
            ended, watches = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            for ended_watch in ended:
                if not watches:
                    ended_watch.result()
                others = f"other {len(watches)} go" if len(watches) > 1 else "other one goes"
                report.line(f"{ended_watch.exception()}\nThe {others} on.")
    finally:
        for each in watches:
            each.cancel()
