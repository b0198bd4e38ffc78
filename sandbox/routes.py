"""The routes that the sandbox's service has in addition to production's."""

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from sandbox.breaking import BreakRoutes
from sandbox.messages import MessageRoutes
from sandbox.own_browser import for_own_browser
from sandbox.service_client import ServiceClient
from sandbox.toy_inbox import ToyInbox
from service.http.auth import Keyring
from service.http.problems import json_response
from service.settings import Settings


class SandboxRoutes:
    """The console's "Test DM" and "Break Meta", its operator's key, and the toy inbox.

    `url` is the service's URL; the simulator is its Graph API.
    """

    def __init__(self, settings: Settings, url: str) -> None:
        self._operator_key = settings.operator_api_keys[0].get_secret_value()
        app_secret = settings.meta_app_secrets[0].get_secret_value()
        inbox_key = settings.inbox_api_keys[0].get_secret_value()
        dsn = settings.dsn
        open_client = partial(
            ServiceClient,
            url,
            inbox_key=inbox_key,
            operator_key=self._operator_key,
            app_secret=app_secret,
        )
        self._messages = MessageRoutes(url, app_secret)
        self._breaking = BreakRoutes(str(settings.graph_base_url), dsn, open_client)
        self._inbox = ToyInbox(open_client, self._messages)

    def routes(self, keyring: Keyring) -> Sequence[web.RouteDef]:
        """List the routes."""
        return [*self.console_routes(keyring), *self._inbox.routes(), self._key_route()]

    def console_routes(self, keyring: Keyring) -> Sequence[web.RouteDef]:
        """List the routes of the console's views, which need an operator key."""
        return [*self._messages.routes(keyring), *self._breaking.routes(keyring)]

    def _key_route(self) -> web.RouteDef:
        return web.get("/console/sandbox/key", for_own_browser(self._tell_key))

    async def _tell_key(self, _: web.Request) -> web.Response:
        """Return the operator key to the console: the browser belongs to the key's owner."""
        return json_response({"key": self._operator_key})
