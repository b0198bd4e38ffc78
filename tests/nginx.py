"""A real nginx for tests: one process, in a folder of the test's, on a loopback port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.programs import find_program
from tests.until import until_it_listens

_MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, http: str, port: int) -> AsyncIterator[None]:
    """Run nginx with these directives of the `http` block until the block ends."""
    program = find_program("nginx")
    assert program is not None
    config = folder / "nginx.conf"
    config.write_text(_MAIN.format(folder=folder, http=http))
    process = await asyncio.create_subprocess_exec(
        program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)
    )
    try:
        await until_it_listens(process, port, folder / "error.log")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
