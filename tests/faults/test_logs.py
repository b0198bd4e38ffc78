"""A log that can't be written to costs its lines, never an answer."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from tests.faults.rigs import Machines, forked_rig, named
from tests.system.chaos.faults import FULL
from tests.system.chaos.rig import Rig, new_user

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _works_and_stops_well(made: Rig) -> None:
    service, user = made.services[0], new_user()
    assert (await made.write_as(user, service=service)).status == 200
    await named(made, user)
    assert await made.metric("instagram_lost_log_lines") > 0
    assert await service.stop() == 0
    assert service.errors.read_text() == ""


async def test_a_disk_that_is_full(machines: Machines) -> None:
    async with forked_rig(*machines) as made:
        await made.services[0].start(stdout=FULL)
        await made.ready()
        await _works_and_stops_well(made)


async def test_a_reader_that_has_gone(machines: Machines, tmp_path: Path) -> None:
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    async with forked_rig(*machines) as made:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        await made.services[0].start(stdout=pipe)
        os.close(reader)
        await made.ready()
        await _works_and_stops_well(made)


async def test_a_reader_that_stalls_without_closing(machines: Machines, tmp_path: Path) -> None:
    pipe, nobody = tmp_path / "log", json.dumps({"object": "x" * 64, "entry": []}).encode()
    os.mkfifo(pipe)
    async with forked_rig(*machines) as made:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        service, user = made.services[0], new_user()
        try:
            await service.start(stdout=pipe)
            await made.ready()
            for _ in range(100):  # each writes a line: more than the pipe holds
                assert (await made.deliver(nobody)).status == 200
            assert (await made.write_as(user)).status == 200
            await named(made, user)
            assert await service.stop() == 0
        finally:
            os.close(reader)
