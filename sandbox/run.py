"""The `sandbox` command: the service as it runs in production, in a simulated environment."""

import asyncio
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from sandbox import sample_traffic
from sandbox.child import ServiceProcess
from sandbox.environment import (
    PROJECT,
    Address,
    Given,
    child_environment,
    choose_address,
    first,
    pasteable,
)
from sandbox.folder import ENVIRONMENT, LOG, NATS, POSTGRES, sandbox_folder, write_private
from sandbox.graph.replies import version_served
from sandbox.graph.simulator import GraphSimulator
from sandbox.keyboard import Keyboard
from sandbox.nats import NatsServer
from sandbox.postgres.server import EmbeddedPostgres, PostgresUnavailableError
from sandbox.problems import RefusedError, SandboxError
from sandbox.report import Report
from sandbox.service_client import ServiceClient
from sandbox.staying import service_client, stay_up
from service.settings import Settings

DATA_DIR = PROJECT / ".sandbox"
_ALL_WELL, _FAILED, _INTERRUPTED = 0, 1, 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run_sandbox(
    *,
    port: int | None,
    data_dir: Path | None,
    fresh: bool,
    once: bool,
    replicas: int = 1,
    nats: bool = False,
) -> int:
    """Start everything, send the samples, show their results, and run until a signal.

    Several replicas share one port; with `nats` the intake uses a broker of the sandbox. Returns
    the exit code: 0 if every sample sender got the expected result, 1 if not or after an error, 2
    for a refused request, 130 if a signal came before the result. Everything that was started is
    stopped. Call it in the main thread.
    """
    report = Report()
    sandbox = _Sandbox(
        report,
        port=port,
        data_dir=data_dir or DATA_DIR,
        fresh=fresh,
        once=once,
        replicas=replicas,
        nats=nats,
    )
    received: list[signal.Signals] = []
    try:
        with _cancelled_by_signals(received):
            await sandbox.run()
        if not once:
            report.line("Everything has stopped.")
    except asyncio.CancelledError:
        if not received:
            raise
        report.line("Everything has stopped.")
    except (SandboxError, PostgresUnavailableError) as error:
        report.trouble(str(error))
        return getattr(error, "exit_code", _FAILED)
    return sandbox.exit_code


class _Sandbox:
    def __init__(
        self,
        report: Report,
        *,
        port: int | None,
        data_dir: Path,
        fresh: bool,
        once: bool,
        replicas: int,
        nats: bool,
    ) -> None:
        self.exit_code = _INTERRUPTED
        self._replicas, self._nats = replicas, nats
        self._report = report
        self._port, self._data_dir, self._fresh, self._once = port, data_dir, fresh, once

    async def run(self) -> None:
        """Run the sandbox; returns with `--once`, else ends by cancellation or an error."""
        given = Given.read()
        if self._once and given.real_graph:
            raise RefusedError(
                "--once sends made-up samples, which the real Graph API would not know. Unset "
                "META_APP_SECRETS (also in .env) to use the simulator, or leave --once out."
            )
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(sandbox_folder(self._data_dir, fresh=self._fresh))
            address = choose_address(given, self._port)
            self._report.expect_steps(3 + (not given.real_graph) + self._nats)
            settings = await self._build_world(stack, given, folder, address)
            replicas = await self._start_replicas(stack, given, settings, folder, address)
            async with service_client(address.url, settings) as client:
                well = given.real_graph or await self._try_samples(client)
                self.exit_code = _ALL_WELL if well else _FAILED
                if not self._once:
                    self._describe(given, folder, address, settings)
                    self._mention_version(given)
                    has_simulator = not given.real_graph
                    keyboard = Keyboard(
                        client, self._report, address.url, has_simulator=has_simulator
                    )
                    await stay_up(client, self._report, replicas, keyboard)
                    self._report.line("Stopping ...")

    async def _build_world(
        self, stack: AsyncExitStack, given: Given, folder: Path, address: Address
    ) -> dict[str, str]:
        """Start what the service needs; returns the settings to start it with."""
        keys = given.keys(folder)
        database = self._database(stack, given, folder)
        graph = given.graph_urls()
        if given.real_graph:
            self._report.step(f"Using the real Graph API at {graph['GRAPH_BASE_URL']}.")
        else:
            graph = await self._simulated_graph(stack, given, first(keys["META_APP_SECRETS"]))
        where = {"HOST": address.host, "PORT": str(address.port)}
        return {
            "DATABASE_URL": database,
            **keys,
            **graph,
            **where,
            **await self._sharing(stack, folder),
        }

    def _at(self, url: str) -> str:
        """Return the words for a URL, which with `--once` is no longer valid when it is read."""
        return "" if self._once else f" at {url}"

    async def _sharing(self, stack: AsyncExitStack, folder: Path) -> dict[str, str]:
        """Start the broker if it is requested; returns the settings that replicas share."""
        shared = {"REUSE_PORT": "true"} if self._replicas > 1 else {}
        if not self._nats:
            return shared
        self._report.step("Starting NATS JetStream ...")
        broker = await stack.enter_async_context(NatsServer(folder / NATS))
        self._report.line(f"NATS JetStream is up{self._at(broker.url)}.")
        return {**shared, "INTAKE_URL": broker.url}

    def _database(self, stack: AsyncExitStack, given: Given, folder: Path) -> str:
        url = given.database_url(folder)
        if url is not None:
            self._report.step("Using the database that DATABASE_URL names.")
            return url
        is_new = "" if (folder / POSTGRES).exists() else " (the first time it makes a database)"
        self._report.step(f"Starting PostgreSQL in {folder / POSTGRES}{is_new} ...")
        began_s = time.monotonic()
        server = stack.enter_context(EmbeddedPostgres(folder / POSTGRES, durable=True))
        self._report.line(f"PostgreSQL is up ({_since(began_s)}).")
        return server.dsn()

    async def _simulated_graph(
        self, stack: AsyncExitStack, given: Given, app_secret: str
    ) -> dict[str, str]:
        if "GRAPH_BASE_URL" in given.values:
            self._report.line("GRAPH_BASE_URL is left aside: the sandbox has a Graph of its own.")
        self._report.step("Starting the Graph simulator, which stands in Meta's place ...")
        graph = await stack.enter_async_context(
            GraphSimulator(app_secret=app_secret, introduce=sample_traffic.introduce)
        )
        self._report.line(f"The Graph simulator is up{self._at(graph.url)}.")
        return {
            "GRAPH_BASE_URL": graph.url,
            "INSTAGRAM_GRAPH_BASE_URL": graph.instagram_url,
            "PICTURE_HOSTS": graph.album.origin,
        }

    async def _start_replicas(
        self,
        stack: AsyncExitStack,
        given: Given,
        settings: dict[str, str],
        folder: Path,
        address: Address,
    ) -> list[ServiceProcess]:
        """Start the replicas; the first one starts alone, since it creates the tables."""
        self._report.step(f"Starting the service{self._at(address.url)} ...")
        began_s = time.monotonic()
        module = ("service", "serve") if given.real_graph else ("sandbox.serve",)
        environment = child_environment(settings)
        started: list[ServiceProcess] = []
        for number in range(1, self._replicas + 1):
            log = folder / (LOG if number == 1 else f"service-{number}.log")
            replica = await stack.enter_async_context(ServiceProcess(environment, log, module))
            await replica.wait_until_serving()
            started.append(replica)
        await started[0].wait_until_ready(address.url)
        self._report.line(f"The service is ready ({_since(began_s)}).")
        if self._replicas > 1:
            pids = ", ".join(str(replica.pid) for replica in started)
            self._report.line(f"{self._replicas} replicas share the port: processes {pids}.")
        return started

    async def _try_samples(self, client: ServiceClient) -> bool:
        """Send the sample deliveries; returns whether every sender got the expected result."""
        senders, deliveries = sample_traffic.SENDERS, sample_traffic.sample_deliveries()
        self._report.step(f"Sending {len(deliveries)} signed sample deliveries ...")
        await client.end_pauses()  # of an earlier run, whose simulator was broken
        await client.connect_sample_account()
        await client.forget(senders)
        for delivery in deliveries:
            await client.deliver(delivery)
        findings = await client.settled(senders)
        self._report.findings(findings)
        return all(finding.ok for finding in findings)

    def _describe(
        self, given: Given, folder: Path, address: Address, settings: dict[str, str]
    ) -> None:
        lines, environment = pasteable(settings, given.withheld), folder / ENVIRONMENT
        write_private(environment, "\n".join(lines) + "\n")
        toy = {} if given.real_graph else {"toy inbox": f"{address.url}/inbox"}
        graph = {"Graph": settings["GRAPH_BASE_URL"]}
        load = f"set -a; . {shlex.quote(str(environment))}; set +a"
        files = {"service log": str(folder / LOG), "to load the settings": load}
        self._report.world(address.url, settings, lines, toy | graph | files)
        self._report.commands(address.url, settings, real_graph=given.real_graph)

    def _mention_version(self, given: Given) -> None:
        """Print a note if the API version has expired at Meta."""
        usual = str(Settings.model_fields["graph_api_version"].default)
        version = given.values.get("GRAPH_API_VERSION", usual)
        served = version_served(version)
        if served not in (version, None):
            whose = "the service's default" if version == usual else "as you have set it"
            self._report.line(
                f"\nGRAPH_API_VERSION is {version}, {whose}. Meta has ended that version and "
                f"answers as {served}: nothing to do here; before you go live, set a later one."
            )


def _since(began_s: float) -> str:
    return f"{time.monotonic() - began_s:.1f} s"


@contextmanager
def _cancelled_by_signals(received: list[signal.Signals]) -> Iterator[None]:
    """Cancel the current task at SIGINT, SIGTERM or SIGHUP, and record the signal."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel(number: signal.Signals) -> None:
        received.append(number)
        if task is not None:
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, cancel, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
