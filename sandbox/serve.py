"""The service in the sandbox: `serve` with the routes of `sandbox.routes`.

`python -m service serve` has no such routes, and no setting adds them.
"""

import asyncio

from sandbox.environment import Address
from sandbox.routes import SandboxRoutes
from service.app import run
from service.logs import configure_logs
from service.settings import Settings


def main() -> None:
    """Serve until SIGTERM; PORT must be set."""
    settings = Settings.load()
    configure_logs(settings.log_format, settings.log_level)
    url = Address(settings.host, settings.port).url
    asyncio.run(run(settings, SandboxRoutes(settings, url).routes))


if __name__ == "__main__":
    main()
