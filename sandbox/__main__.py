"""`python -m sandbox`: the service as in production, and all that it needs, on this machine."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", type=click.IntRange(0, 65535), help="Where to listen [default: 8080].")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where its data is kept.")
@click.option("--fresh", is_flag=True, help="Begin with an empty database.")
@click.option("--once", is_flag=True, help="Send the samples, print the names, stop.")
@click.option("--replicas", type=click.IntRange(1, 16), default=1, help="Services on one port.")
@click.option("--nats", is_flag=True, help="Take webhooks in through NATS JetStream.")
def main(
    port: int | None, data_dir: Path | None, replicas: int, *, fresh: bool, once: bool, nats: bool
) -> None:
    """Run everything on this machine: PostgreSQL, a Graph simulator, sample messages."""
    click.echo("The sandbox of the Instagram identity service starts, all on this machine.")
    from sandbox.run import run_sandbox  # noqa: PLC0415 - keeps `--help` fast

    work = run_sandbox(
        port=port, data_dir=data_dir, fresh=fresh, once=once, replicas=replicas, nats=nats
    )
    sys.exit(asyncio.run(work))


if __name__ == "__main__":
    main(prog_name="python -m sandbox")
