"""The client connection to NATS: one at a time; a new one checks the stream and its consumer.

nats-py's own reconnecting is off: it stops permanently when the server reports an error, buffers
messages that it cannot send, and stays with a node that has lost its cluster. Here a lost
connection is replaced by a new one, to any node of the list.

Source: NATS documentation, "JetStream: streams, consumers, acknowledgement models".
"""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import suppress

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamState
from nats.js.errors import APIError

from service.errors import RefusedError, UnavailableError
from service.nats_url import NatsUrl, read_nats_urls
from service.receiving.intake.stream import CONSUMER, STREAM, SUBJECT, prepare

DURABLE_WITHIN_S = 2.5
BROKER_FAILURES = (nats.errors.Error, APIError, TimeoutError, OSError)
_CONNECTED_WITHIN_S = 2.0
_CLOSED_WITHIN_S = 1.0
_CALL_S = 5.0
_PING_EVERY_S = 1
_MOST_BYTES = 1024 * 1024
_HEADER_BYTES = 256  # in each publication: the name of the expected stream
_MOST_UNSENT_BYTES = 8 * 1024 * 1024

log = structlog.get_logger()


class Broker:
    """The cluster named by a comma-separated list of addresses.

    An address can contain a user and a password, or `?creds=` with the path of a credentials file.
    Raises ValueError for an invalid address.
    """

    def __init__(self, url: str) -> None:
        self._addresses = read_nats_urls(url)
        self._client: Client | None = None
        self._longest_message = math.inf

    @property
    def most_bytes(self) -> int:
        """The longest payload that both the server and the stream accept, without the headers."""
        server = math.inf if self._client is None else self._client.max_payload
        return int(min(server, self._longest_message, _MOST_BYTES)) - _HEADER_BYTES

    @property
    def is_connected(self) -> bool:
        """Return whether a node answers."""
        return self._client is not None and self._client.is_connected

    async def prepare(self) -> None:
        """Connect if necessary, and create or check the stream and its consumer.

        Raises UnavailableError or BrokerMismatchError; the next attempt may reach another node.
        """
        if not self.is_connected:
            await self.close()
            self._client = await self._connect()
        try:
            config = await prepare(self._connected().jetstream(timeout=_CALL_S))
        except BROKER_FAILURES as error:
            await self.close()
            raise UnavailableError(f"JetStream is not ready: {_describe(error)}") from error
        limit = config.max_msg_size
        self._longest_message = limit if limit is not None and limit > 0 else math.inf

    async def publish(self, payload: bytes) -> None:
        """Return once the stream holds the payload; raises UnavailableError within 3 seconds."""
        client = self._connected()
        if client.pending_data_size > _MOST_UNSENT_BYTES:
            raise UnavailableError("the broker does not keep up")
        stream = client.jetstream(timeout=DURABLE_WITHIN_S)
        try:
            await stream.publish(SUBJECT, payload, stream=STREAM)
        except BROKER_FAILURES as error:
            raise UnavailableError(f"the broker did not accept: {_describe(error)}") from error

    async def subscribe(self) -> JetStreamContext.PullSubscription:
        """Subscribe as one of the consumer's readers."""
        return await self._connected().jetstream().pull_subscribe_bind(CONSUMER, STREAM)

    async def state(self) -> StreamState:
        """Read the stream's state; raises UnavailableError."""
        stream = self._connected().jetstream(timeout=DURABLE_WITHIN_S)
        try:
            return (await stream.stream_info(STREAM)).state
        except BROKER_FAILURES as error:
            raise UnavailableError(f"the broker does not answer: {_describe(error)}") from error

    async def close(self) -> None:
        """Close the connection, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await _close(client)

    def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise UnavailableError("the broker is not connected")
        return self._client

    async def _connect(self) -> Client:
        """Try each address once, in random order; raises UnavailableError."""
        last: BaseException | None = None
        for address in random.sample(self._addresses, len(self._addresses)):
            client = Client()
            try:
                async with asyncio.timeout(_CONNECTED_WITHIN_S):
                    await self._connect_to(client, address)
            except BROKER_FAILURES as error:
                last = error
                await _close(client)
            else:
                return client
        if "authorization violation" in str(last).lower():  # nats-py has no class for it here
            raise RefusedError("Cannot connect to NATS: the user or the password is wrong")
        nodes = ", ".join(node.address for node in self._addresses)
        raise UnavailableError(
            f"Cannot connect to NATS: no node answers at {nodes} ({_describe(last)})"
        ) from last

    async def _connect_to(self, client: Client, address: NatsUrl) -> None:
        await client.connect(
            [address.address],
            user=address.user,
            password=address.password or "" if address.user else None,
            token=None if address.user else address.password,
            user_credentials=address.credentials_file,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=int(_CONNECTED_WITHIN_S),
            ping_interval=_PING_EVERY_S,
            pending_size=2 * _MOST_UNSENT_BYTES,
            error_cb=_log_error,
            name="instagram-identity",
        )


async def _close(client: Client) -> None:
    """Close a client in any state; nats-py itself would wait for bytes that cannot be sent."""
    with suppress(*BROKER_FAILURES):
        async with asyncio.timeout(_CLOSED_WITHIN_S):
            await client.close()


async def _log_error(error: Exception) -> None:
    log.debug("the broker reports", error=_describe(error))


def _describe(error: BaseException | None) -> str:
    """Describe an error by its class and the broker's text, never by an address or a password."""
    name = type(error).__name__
    return f"{name} {error.description}" if isinstance(error, APIError) else name
