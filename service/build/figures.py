"""Publishes gauges that are read at each scrape."""

from __future__ import annotations

from functools import partial
from typing import get_args

from service.build import Parts
from service.http.health import describe_intake
from service.judgement.token_rules import WarningKind
from service.logs import LOST_LINES
from service.model.calls import PauseReason
from service.receiving.forwarding.forwarding import Forwarding
from service.receiving.intake import Intake
from service.store.database import Database


def publish_figures(parts: Parts, intake: Intake, forwarding: Forwarding | None) -> None:
    """Publish gauges that are read at each scrape."""
    watch, watch_each, queue = parts.metrics.watch, parts.metrics.watch_each, parts.queue
    watch("instagram_queue_depth", "Users that wait in the queue", lambda: queue.depth)
    watch("instagram_queue_oldest_seconds", "The longest wait", queue.oldest_s)
    watch("instagram_in_flight", "Users being resolved", lambda: queue.in_flight)
    watch("instagram_known_users", "Users known durable", lambda: len(parts.known))
    watch("instagram_notices_up", "Notices are heard", lambda: parts.known.is_trusted)
    watch("instagram_event_streams", "Clients that watch", lambda: parts.changes.subscriptions)
    watch("instagram_pictures_waiting", "Pictures to copy", lambda: parts.pictures.waiting)
    watch("instagram_postgres_up", "PostgreSQL answers", lambda: parts.database.is_answering)
    watch("instagram_lost_log_lines", "Lines not written", lambda: LOST_LINES.count)
    watch("instagram_sweep_age_seconds", "Time since the last sweep", parts.sweeper.age_s)
    if forwarding is not None:
        _publish_forwarding(parts, forwarding)
    watch_each(
        "instagram_token_warnings",
        "Connections whose token needs an operator",
        ["kind"],
        {(kind,): partial(parts.token_watch.count, kind) for kind in get_args(WarningKind)},
    )
    watch_each(
        "instagram_intake_up",
        "The intake that stores deliveries answers",
        ["kind"],
        {(intake.describe()["kind"],): lambda: _is_up(intake, parts.database)},
    )
    watch_each(
        "instagram_pauses",
        "Pauses in force",
        ["scope", "reason"],
        {
            (scope, reason): partial(parts.board.count, scope, reason)
            for scope in ("app", "account")
            for reason in get_args(PauseReason)
        },
    )


def _publish_forwarding(parts: Parts, forwarding: Forwarding) -> None:
    watch, outbox = parts.metrics.watch, forwarding.outbox
    watch("instagram_forwards_waiting", "Deliveries to be forwarded", forwarding.waiting)
    watch("instagram_forwards_waiting_bytes", "Their bodies", lambda: outbox.waiting_bytes)
    watch("instagram_forwards_max_bytes", "FORWARD_MAX_BYTES", lambda: forwarding.most_bytes)
    watch("instagram_forwards_oldest_seconds", "The longest wait", forwarding.oldest_s)
    watch("instagram_forwards_set_aside", "Given up after 36 hours", forwarding.set_aside)


def _is_up(intake: Intake, database: Database) -> bool:
    postgres = "ok" if database.is_answering else "unavailable"
    return describe_intake(intake, postgres)["state"] == "ok"
