"""Runs a primary and its synchronous standby, controlled by commands on standard input, one a line.

A commit is acknowledged once the standby has it on disk. While a standby is built, the primary
commits alone, as failover managers that prefer availability do.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from sandbox.ports import free_port
from sandbox.postgres.folder import Places, PostgresFolder
from sandbox.postgres.os_account import BARE_ENVIRONMENT, Account, find_binaries
from sandbox.postgres.server import EmbeddedPostgres

CAUGHT_UP_WITHIN_S = 60.0
_CAUGHT_UP = """
SELECT EXISTS (SELECT FROM pg_stat_replication
    WHERE sync_state = 'sync' AND flush_lsn >= $1::text::pg_lsn)
"""


class Pair:
    """Two servers with fixed ports, one of which is the primary."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o711, exist_ok=True)
        self._primary, self._standby = (
            EmbeddedPostgres(folder / name, port=free_port()) for name in "ab"
        )
        self._has_standby = False

    def answer(self) -> str:
        """Return the primary's address, and the standby's port."""
        return json.dumps({"dsn": self._primary.dsn(), "standby": self._standby.port})

    def start(self) -> None:
        """Start the primary; the first time, also build a standby."""
        self._primary.start()
        if not self._has_standby:
            self.renew()

    def stop(self) -> None:
        """Stop the primary only."""
        self._primary.stop()

    def kill(self) -> None:
        """Crash the primary."""
        self._primary.kill()

    def freeze(self) -> None:
        """Freeze the primary."""
        self._primary.freeze()

    def thaw(self) -> None:
        """Continue the primary."""
        self._primary.thaw()

    def catch_up(self) -> None:
        """Return when the standby has all commits of the primary."""
        position = _ask(self._primary, "SELECT pg_current_wal_lsn()::text")
        deadline = time.monotonic() + CAUGHT_UP_WITHIN_S
        while not _ask(self._primary, _CAUGHT_UP, position):
            if time.monotonic() > deadline:
                raise TimeoutError("the standby does not catch up")
            time.sleep(0.02)

    def promote(self) -> None:
        """Promote the standby; the other server becomes the next standby."""
        _ask(self._standby, "SELECT pg_promote()")
        self._primary, self._standby = self._standby, self._primary

    def switch(self) -> None:
        """Stop the primary cleanly, promote the standby, and let the old primary follow it."""
        self._primary.stop()
        self.promote()
        _follow(_places(self._standby), self._primary)
        self._standby.start()
        _commit_on_both(self._primary)

    def demote(self) -> None:
        """Make the primary read-only, in open sessions too, and promote the standby."""
        _ask(self._primary, "ALTER SYSTEM SET default_transaction_read_only = on")
        _ask(self._primary, "SELECT pg_reload_conf()")
        self.promote()

    def renew(self) -> None:
        """Build a standby from a copy of the primary."""
        self._standby.kill()
        self._standby.erase()
        _copy(self._primary, self._standby)
        self._standby.start()
        self._has_standby = True
        _commit_on_both(self._primary)

    def end(self) -> None:
        """Stop both."""
        for server in (self._standby, self._primary):
            server.stop()


def _ask(server: EmbeddedPostgres, statement: str, *arguments: object) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(server.dsn(), timeout=10)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close()

    return asyncio.run(ask())


def _commit_on_both(primary: EmbeddedPostgres) -> None:
    _ask(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    _ask(primary, "SELECT pg_reload_conf()")


def _places(server: EmbeddedPostgres) -> Places:
    return PostgresFolder(server.data_dir).places_for(Account.unprivileged())


def _copy(primary: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
    """Copy a running primary into the folder of a new standby."""
    account, folder = Account.unprivileged(), PostgresFolder(standby.data_dir)
    folder.take()
    places = folder.places_for(account)
    account.own(places.cluster)
    program = find_binaries(account, folder.reachable_folders) / "pg_basebackup"
    options = (
        f"--pgdata={places.cluster}",
        f"--dbname={primary.dsn()}",
        "--checkpoint=fast",
        "--no-sync",
    )
    subprocess.run(  # noqa: S603 - a constant binary, no shell
        [*account.prefix, str(program), *options], check=True, cwd="/", env=BARE_ENVIRONMENT
    )
    shutil.copy(primary.data_dir / "password", standby.data_dir / "password")
    folder.give_back()
    _follow(places, primary)


def _follow(places: Places, primary: EmbeddedPostgres) -> None:
    """Configure a stopped server as a standby, without settings of ALTER SYSTEM."""
    account = Account.unprivileged()
    address = f"{primary.dsn()}?application_name=standby"
    settings = f"primary_conninfo = '{address}'\nwal_retrieve_retry_interval = '100ms'\n"
    for name, text in (("postgresql.auto.conf", settings), ("standby.signal", "")):
        file = places.cluster / name
        file.write_text(text)
        shutil.chown(file, account.uid, account.gid)


def main(folder: Path) -> None:
    """Run commands until standard input ends; each is answered with the addresses."""
    pair = Pair(folder)
    try:
        for line in sys.stdin:
            getattr(pair, line.strip())()
            print(pair.answer(), flush=True)
    finally:
        pair.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
