"""The commands: `python -m service --help`."""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import TYPE_CHECKING

import click

from service import VERSION
from service.errors import ServiceError, SettingsError
from service.wording import count, printable_lines

if TYPE_CHECKING:  # it takes 0.2 s, which `--help` saves
    from service.settings import MigrateSettings, StoreSettings

WRONG_SETTINGS = 2
FAILED = 1

_location = click.option(
    "--location", required=True, help="The location, as in `connections list`."
)
_url = click.option("--url", help="The service's URL [default: SERVICE_URL, or this machine].")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="instagram-identity")
def main() -> None:
    """Return every user in an Instagram inbox a name."""


@main.command()
def serve() -> None:
    """Receive webhooks, resolve profiles and answer the Inbox, until SIGTERM."""
    from service.app import run
    from service.loop import new_loop
    from service.settings import Settings

    settings = Settings.load()
    _begin_logs(settings)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run(settings))


@main.command()
@click.option(
    "--seal-tokens", is_flag=True, help="Encrypt plain tokens too [default: as SEAL_TOKENS says]."
)
def migrate(*, seal_tokens: bool) -> None:
    """Create or upgrade the tables; re-encrypt tokens that an older key has encrypted.

    A plain token belongs to another application, which can no longer read it once it is encrypted.
    """
    from service.settings import MigrateSettings, secret_values
    from service.store.migration import migrate as apply
    from service.vault import Vault

    settings = MigrateSettings.load()
    _begin_logs(settings)
    vault = Vault(secret_values(settings.token_encryption_keys))
    work = apply(settings.dsn, vault, seals_plain=seal_tokens or settings.seal_tokens)
    tokens = count(asyncio.run(work), "token was", "tokens were")
    click.echo(f"The database is up to date; {tokens} encrypted.")


@main.command()
@click.option("--location", help="The location to look at [default: all].")
@click.option("--user", help="One person instead: an id or @username.")
@_url
@_json
def doctor(location: str | None, user: str | None, url: str | None, *, as_json: bool) -> None:
    """Find out why names are missing, and say what to do.

    Exits with 0 if all is well, 1 if something needs attention, 2 if something is broken. With
    --user: 0 if the name is fresh, 1 if it will be fetched automatically, 2 if you have to act.
    """
    from service.commands.doctor.command import doctor as examine
    from service.commands.doctor.person import examine_user
    from service.settings import DoctorSettings

    if user is not None and location is not None:
        raise click.UsageError("--user looks at one person in all locations: omit --location.")
    if user is not None:
        sys.exit(asyncio.run(examine_user(DoctorSettings.load(), user, as_json=as_json)))
    sys.exit(asyncio.run(examine(DoctorSettings.load(), url, location, as_json=as_json)))


@main.command()
@_location
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True)
@click.option(
    "--include-failed", is_flag=True, help="Also try users whose retries wait or have ended."
)
@_url
@_json
def backfill(
    location: str, days: int, url: str | None, *, include_failed: bool, as_json: bool
) -> None:
    """Fetch every user of a location who wrote within some days and lacks a fresh name.

    Can be stopped and run again at any time. Exits with 0 if everybody has a fresh name, 1 if some
    users wait or have stopped, 2 if it could not continue, 130 after Ctrl-C.
    """
    from service.commands.backfill import backfill as fill
    from service.settings import ClientSettings

    work = fill(
        ClientSettings.load(), url, location, days, include_failed=include_failed, as_json=as_json
    )
    sys.exit(asyncio.run(work))


@main.group()
def connections() -> None:
    """Show, add and remove connected accounts."""


@connections.command("list")
@_url
@_json
def list_connections(url: str | None, *, as_json: bool) -> None:
    """Show the connections: location, login, state of the token, pauses."""
    from service.commands import connections as commands
    from service.settings import ClientSettings

    asyncio.run(commands.list_connections(ClientSettings.load(), url, as_json=as_json))


@connections.command("add")
@click.argument("account")
@_location
@click.option("--login", type=click.Choice(["facebook", "instagram"]), help="[default: facebook]")
@click.option("--alias", "aliases", multiple=True, help="Another id of the account; repeatable.")
@click.option("--no-aliases", is_flag=True, help="Forget the aliases that are stored.")
@_url
def add_connection(
    account: str,
    location: str,
    login: str | None,
    aliases: tuple[str, ...],
    url: str | None,
    *,
    no_aliases: bool,
) -> None:
    """Connect ACCOUNT, or give it a new token; asks for the token, or reads it from stdin.

    Stored login and aliases stay unless the options change them.
    """
    from service.commands import connections as commands
    from service.settings import ClientSettings

    settings = ClientSettings.load()
    [account_id, *alias_ids] = commands.checked_ids((account, *aliases))
    named = tuple(alias_ids) if aliases or no_aliases else None
    wanted = commands.NewConnection(account_id, location, login, named)
    asyncio.run(commands.add(settings, url, wanted, commands.read_token()))


@connections.command("remove")
@click.argument("account")
@click.option("--yes", is_flag=True, help="Don't ask.")
@_url
def remove_connection(account: str, url: str | None, *, yes: bool) -> None:
    """Disconnect ACCOUNT and delete its token; asks first."""
    from service.commands import connections as commands
    from service.settings import ClientSettings

    [account_id] = commands.checked_ids((account,))
    commands.remove(ClientSettings.load(), url, account_id, is_sure=yes)


@main.group()
def participants() -> None:
    """Import users who wrote before this service was installed, and erase users."""


@participants.command("import")
@click.argument("file", required=False)
@click.option("--from-meta", is_flag=True, help="Ask Meta for a location's conversations.")
@click.option("--location", help="With --from-meta: the location.")
@click.option("--days", type=click.IntRange(1, 90), help="With --from-meta [default: 7].")
def import_participants(
    file: str | None, location: str | None, days: int | None, *, from_meta: bool
) -> None:
    """Import participants from stdin, or from Meta's list of conversations.

    On stdin: CSV with the columns ig_account_id, ig_user_id and, if known, last_message_at, or
    JSON lines with these keys. Bad lines are reported and skipped; the exit code is then 1. An
    import can be repeated: nothing is stored twice.
    """
    if file is not None:
        raise click.UsageError(
            "Participants are read from standard input: "
            f"python -m service participants import < {shlex.quote(file)}"
        )
    if from_meta != (location is not None) or (days is not None and not from_meta):
        raise click.UsageError("--from-meta and --location go together; --days needs both.")
    if location is None:
        from service.commands.participants import import_from_stdin
        from service.settings import StoreSettings

        sys.exit(import_from_stdin(StoreSettings.load()))
    from service.commands.meta_import import import_from_meta
    from service.settings import GraphSettings

    sys.exit(asyncio.run(import_from_meta(GraphSettings.load(), location, days or 7)))


@participants.command("erase")
@_url
def erase_participants(url: str | None) -> None:
    """Erase everything stored about the users whose ids are read from stdin.

    Separate the ids by line ends, blanks or commas, as in the lists that Meta sends by mail. Exits
    with 1 if something on stdin was not an id.
    """
    from service.commands.erase import erase_from_stdin, prompt
    from service.settings import ClientSettings

    settings = ClientSettings.load()
    prompt(sys.stdin.buffer)
    sys.exit(asyncio.run(erase_from_stdin(settings, url, sys.stdin.buffer)))


@main.group()
def forwards() -> None:
    """Show, retry and drop deliveries that wait to be forwarded."""


@forwards.command("list")
@_json
def list_forwards(*, as_json: bool) -> None:
    """Show the deliveries that wait for each forward address.

    Exits with 1 if deliveries were set aside after 36 hours.
    """
    from service.commands import forwards as commands
    from service.settings import ForwardSettings

    sys.exit(asyncio.run(commands.list_forwards(ForwardSettings.load(), as_json=as_json)))


@forwards.command("retry")
@click.argument("address", required=False)
def retry_forwards(address: str | None) -> None:
    """Post waiting and set-aside deliveries again now, to ADDRESS or to all."""
    from service.commands import forwards as commands
    from service.settings import ForwardSettings

    sys.exit(asyncio.run(commands.retry(ForwardSettings.load(), address)))


@forwards.command("drop")
@click.argument("address")
@click.option("--set-aside", is_flag=True, help="Only those that were set aside after 36 hours.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def drop_forwards(address: str, *, set_aside: bool, yes: bool) -> None:
    """Delete the deliveries that wait for ADDRESS, as named by `forwards list`."""
    from service.commands import forwards as commands
    from service.settings import ForwardSettings

    work = commands.drop(ForwardSettings.load(), address, only_set_aside=set_aside, is_sure=yes)
    sys.exit(asyncio.run(work))


def _begin_logs(settings: StoreSettings | MigrateSettings) -> None:
    import structlog

    from service.logs import configure_logs

    configure_logs(settings.log_format, settings.log_level)
    for warning in settings.warnings():
        structlog.get_logger().warning(warning)


def _run() -> None:
    try:
        main()
    except SettingsError as error:
        click.echo(printable_lines(str(error)), err=True)
        sys.exit(WRONG_SETTINGS)
    except ServiceError as error:
        click.echo(printable_lines(f"Stopped: {error}"), err=True)
        sys.exit(getattr(error, "exit_code", FAILED))


if __name__ == "__main__":
    _run()
