"""Creates the stream and the consumer that the intake needs, or checks existing ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import structlog
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from service.errors import ServiceError

STREAM = "instagram_contacts"
SUBJECT = "instagram.contacts"
CONSUMER = "journal"
ACK_WAIT_S = 10.0
_MOST_REPLICAS = 3
_MOST_UNACKED = 5000
_TOO_FEW_NODES = {10005, 10074}  # error codes: no suitable peers; not a cluster
_TAKEN = {10058}  # error code: another replica created it first
_LEAST_MESSAGE_BYTES = 1024
_NO_LIMIT = (None, 0, -1)

_STREAM = api.StreamConfig(
    name=STREAM,
    subjects=[SUBJECT],
    retention=api.RetentionPolicy.WORK_QUEUE,
    storage=api.StorageType.FILE,
    discard=api.DiscardPolicy.NEW,
)
_CONSUMER = api.ConsumerConfig(
    durable_name=CONSUMER,
    ack_policy=api.AckPolicy.EXPLICIT,
    ack_wait=ACK_WAIT_S,
    max_deliver=-1,
    max_ack_pending=_MOST_UNACKED,
)
# Settings that acked participants depend on; any of the listed values is accepted.
_STREAM_PROMISES: Mapping[str, tuple[object, ...]] = {
    "subjects": ([SUBJECT],),
    "retention": (api.RetentionPolicy.WORK_QUEUE,),
    "storage": (api.StorageType.FILE,),
    "discard": (api.DiscardPolicy.NEW,),
    "max_age": _NO_LIMIT,
    "max_msgs_per_subject": _NO_LIMIT,
    "no_ack": (False,),
    "sealed": (False,),
}
_CONSUMER_PROMISES: Mapping[str, tuple[object, ...]] = {
    "ack_policy": (api.AckPolicy.EXPLICIT,),
    "deliver_subject": (None,),
    "max_deliver": _NO_LIMIT,
    "filter_subject": (None, "", SUBJECT),
    "headers_only": (None, False),
}

log = structlog.get_logger()


class BrokerMismatchError(ServiceError):
    """A stream or consumer of our name exists and does not fit the intake."""


async def prepare(jetstream: JetStreamContext) -> api.StreamConfig:
    """Create what is missing and return the stream's settings.

    Raises BrokerMismatchError and nats-py's errors.
    """
    config = await _prepare_stream(jetstream)
    await _prepare_consumer(jetstream)
    return config


async def _prepare_stream(jetstream: JetStreamContext) -> api.StreamConfig:
    try:
        found = (await jetstream.stream_info(STREAM)).config
    except NotFoundError:
        return await _add_stream(jetstream)
    _compare(f"stream {STREAM}", found, _STREAM_PROMISES)
    if found.max_msg_size is not None and 0 < found.max_msg_size < _LEAST_MESSAGE_BYTES:
        raise BrokerMismatchError(
            f"The stream {STREAM} takes messages of {found.max_msg_size} bytes at most:"
            f" it has to take {_LEAST_MESSAGE_BYTES}. Change it, then restart."
        )
    return found


async def _add_stream(jetstream: JetStreamContext) -> api.StreamConfig:
    """Create the stream with as many replicas as the cluster has, up to three."""
    for replicas in range(_MOST_REPLICAS, 0, -1):
        try:
            await jetstream.add_stream(dataclasses.replace(_STREAM, num_replicas=replicas))
        except APIError as error:
            if error.err_code in _TAKEN:
                return await _prepare_stream(jetstream)
            if replicas == 1 or error.err_code not in _TOO_FEW_NODES:
                raise
            log.warning("fewer replicas", replicas=replicas - 1, error=error.description)
        else:
            log.info("stream created", stream=STREAM, replicas=replicas)
            return _STREAM
    return _STREAM


async def _prepare_consumer(jetstream: JetStreamContext) -> None:
    try:
        found = (await jetstream.consumer_info(STREAM, CONSUMER)).config
    except NotFoundError:
        await jetstream.add_consumer(STREAM, _CONSUMER)
    else:
        _compare(f"consumer {CONSUMER}", found, _CONSUMER_PROMISES)


def _compare(what: str, found: object, promises: Mapping[str, tuple[object, ...]]) -> None:
    wrong = [
        f"{name} is {getattr(found, name)!r}, not {wanted[0]!r}"
        for name, wanted in promises.items()
        if getattr(found, name) not in wanted
    ]
    if wrong:
        raise BrokerMismatchError(
            f"The {what} exists and differs: {'; '.join(wrong)}. Delete or change it, then restart."
        )
