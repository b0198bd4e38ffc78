"""The operator's console: a page that holds nothing, and the rules it explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.http.problems import json_response

if TYPE_CHECKING:
    from aiohttp import web

    from service.http.pages import Pages
    from service.model import Rules

# Pictures come from Meta's hosts; all else from this service, and no inline script or style.
_POLICY = {
    "default_src": "'none'",
    "script_src": "'self'",
    "style_src": "'self'",
    "img_src": "'self' https: data:",
    "connect_src": "'self'",
}


class ConsoleRoutes:
    """Serves the console; every datum it shows comes over the API, by the operator's key.

    `has_sandbox` tells the page whether this process has the sandbox's routes too.
    """

    def __init__(self, pages: Pages, rules: Rules, *, has_sandbox: bool) -> None:
        self.page = pages.page("console/index.html", **_POLICY)
        self._context = {
            "maxFailures": rules.max_failures,
            "retryWaitsSeconds": [wait.total_seconds() for wait in rules.retry_waits],
            "sandbox": has_sandbox,
        }

    async def context(self, _: web.Request) -> web.Response:
        """Tell by which rules people are tried again; the page's first question, with the key."""
        return json_response(self._context)
