"""A real service for the generated clients, and a folder to follow the guide in."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.clients.guide import commands, write_files
from tests.programs import NPM_FOLDER, find_program
from tests.service.conftest import Client, _quiet_logs, environment, settings, start
from tests.service.conftest import own_graph as graph

__all__ = ["_quiet_logs", "environment", "graph", "settings", "start"]

CALLS = Path(__file__).with_name("calls")
PROJECT = Path(__file__).parents[2]
PYTHON_TOOLS = Path(sys.executable).parent
# One file of openapi-python-client's, the same for every document, is not strictly typed.
TYPES = """
[mypy]
strict = true
cache_dir = {cache}
[mypy-instagram_identity_client.client]
ignore_errors = true
"""


class Folder:
    """An empty folder in which the guide's files lie and its commands run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "node_modules").symlink_to(NPM_FOLDER / "node_modules")
        (path / "package.json").write_text('{"type": "module"}')
        (path / "mypy.ini").write_text(TYPES.format(cache=PROJECT / ".mypy_cache" / "clients"))

    async def follow(self, heading: str, client: Client, **values: str) -> list[str]:
        """Do what a section says; give what each command printed."""
        document = (await client.call("GET", "/openapi.json")).body
        (self.path / "openapi.json").write_bytes(document)
        write_files(heading, self.path)
        todo = commands(heading, SERVICE=client.url, **values)
        return [await self.run(*words) for words in todo]

    def read(self, name: str) -> str:
        """Give the text of a file."""
        return (self.path / name).read_text()

    async def run(self, program: str, *arguments: str) -> str:
        """Run a program to its good end; give what it printed."""
        found = PYTHON_TOOLS / program
        process = await asyncio.create_subprocess_exec(
            *(str(found) if found.exists() else find_program(program) or program, *arguments),
            cwd=self.path,
            env={"PATH": f"{PYTHON_TOOLS}:{os.environ['PATH']}", "LANG": "C.UTF-8"},
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, output.decode()
        return output.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
