"""The operator's console: a static page, and the settings that it explains."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from service.http.pages import Pages
from service.http.problems import json_response
from service.model.freshness import Rules

# Everything is loaded from this service, without inline scripts or styles. With PICTURES=link,
# pictures come from Meta's hosts.
_POLICY = {
    "default_src": "'none'",
    "script_src": "'self'",
    "style_src": "'self'",
    "connect_src": "'self'",
}


class ConsoleRoutes:
    """Serves the console, which reads all data through the API with the operator's key.

    `has_sandbox`: this process has the sandbox's routes too. The page can load pictures from this
    service and from `picture_hosts`, which are domains or origins.
    """

    def __init__(
        self,
        pages: Pages,
        rules: Rules,
        picture_hosts: Sequence[str] = (),
        *,
        has_sandbox: bool,
    ) -> None:
        images = " ".join(["'self' data:", *map(_sources, picture_hosts)])
        marked = "data-sandbox" if has_sandbox else ""
        self.page = pages.page("console/index.html", marked=marked, **_POLICY, img_src=images)
        self._context = {
            "maxFailures": rules.max_failures,
            "retryWaitsSeconds": [wait.total_seconds() for wait in rules.retry_waits],
            "sandbox": has_sandbox,
        }

    async def context(self, _: web.Request) -> web.Response:
        """Return the settings of retries; the page's first request, which checks the key."""
        return json_response(self._context)


def _sources(host: str) -> str:
    """Write an entry of PICTURE_HOSTS as sources of a Content-Security-Policy."""
    return host if "://" in host else f"https://{host} https://*.{host}"
