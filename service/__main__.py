"""The commands: `python -m service --help`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from service.errors import ServiceError, SettingsError

WRONG_SETTINGS = 2
FAILED = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Give a name to every stranger in an Instagram inbox."""


@main.command()
def serve() -> None:
    """Receive webhooks, resolve profiles and answer the Inbox, until SIGTERM."""
    from service.app import run
    from service.logs import configure_logs
    from service.settings import Settings

    settings = Settings.load()
    configure_logs(settings.log_format, settings.log_level)
    asyncio.run(run(settings))


@main.command()
def migrate() -> None:
    """Create or upgrade the tables, and encrypt tokens that are still plain."""
    from service.logs import configure_logs
    from service.settings import MigrateSettings, secret_values
    from service.store.migration import migrate as apply
    from service.vault import Vault

    settings = MigrateSettings.load()
    configure_logs(settings.log_format, settings.log_level)
    vault = Vault(secret_values(settings.token_encryption_keys))
    sealed = asyncio.run(apply(settings.database_url.get_secret_value(), vault))
    click.echo(f"The database is up to date; {sealed} tokens were encrypted.")


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Where to listen [default: 8080].")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where its data is kept.")
@click.option("--fresh", is_flag=True, help="Begin with an empty database.")
@click.option("--once", is_flag=True, help="Send the samples, print the names, stop.")
def sandbox(port: int | None, data_dir: Path | None, *, fresh: bool, once: bool) -> None:
    """Run everything on this machine: PostgreSQL, a Graph simulator, sample messages."""
    from service.sandbox.run import run_sandbox

    sys.exit(asyncio.run(run_sandbox(port=port, data_dir=data_dir, fresh=fresh, once=once)))


def _run() -> None:
    try:
        main()
    except SettingsError as error:
        click.echo(error, err=True)
        sys.exit(WRONG_SETTINGS)
    except ServiceError as error:
        click.echo(f"Stopped: {error}", err=True)
        sys.exit(FAILED)


if __name__ == "__main__":
    _run()
