"""Child processes that Linux kills when their parent dies."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# Asks Linux to kill the process when its parent dies (prctl 1 is PR_SET_PDEATHSIG), makes sure
# that the parent has not died before, and becomes the command.
_LEASH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def leashed(program: Path | str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a program until this process dies."""
    return sys.executable, "-c", _LEASH, str(os.getpid()), str(program), *arguments


async def start(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> asyncio.subprocess.Process:
    """Start a command whose output goes to a file; call from the main thread, which Linux watches.

    A terminal's Ctrl-C does not reach it. Without `environment` it gets this process's.
    """
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *leashed(*command),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


async def end(process: asyncio.subprocess.Process, within_s: float) -> None:
    """Terminate a process, and kill it if it has not ended in time."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), within_s)
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        raise
