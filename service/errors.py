"""The refusals and failures that cross a room's door; each is a decision and carries its data.

ServiceError
├── UnavailableError        Postgres (or the broker) did not answer in time: 503, try again
│   └── RefusedError        and waiting will not help: a wrong password, database or certificate
├── ListenError             the port or address to listen on can't be had
├── UnstorableError         Postgres refuses the values of one row
├── SettingsError           the process can't start with this environment
├── SealError               no configured key opens this token
├── WebhookError            a delivery that is refused
│   ├── SignatureError      nobody we share a secret with has signed these bytes
│   └── PayloadError        signed, but not a JSON object
└── GraphError              what a failed profile call means, by whose fault it is
    ├── UserFault           Meta's answer about this user: a failure of the user
    ├── NobodysFault        time-out, 5xx, not JSON: worth one more try
    ├── UnclearFault        a missing permission, a bad request: other users' answers tell whose
    ├── AccountFault        the account's token, quota or policy block: pauses the account
    └── AppFault            the app's quota: pauses the app
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.model import GraphProblem


class ServiceError(Exception):
    """The root: whatever the service raises on purpose."""


class UnavailableError(ServiceError):
    """What the answer depends on can't be reached right now; the request may be repeated."""


class RefusedError(UnavailableError):
    """PostgreSQL refuses the connection for a reason that an operator has to remove."""


class ListenError(ServiceError):
    """The service can't listen where HOST and PORT say."""


class UnstorableError(ServiceError):
    """Postgres refuses the values of a row: repeating the statement can't help."""


class SettingsError(ServiceError):
    """The environment is wrong; the message names every setting at fault, never a value."""


class SealError(ServiceError):
    """A stored token can't be opened with any of the configured keys."""


class WebhookError(ServiceError):
    """A webhook delivery that is refused."""


class SignatureError(WebhookError):
    """The signature is missing, malformed or made with another secret."""


class PayloadError(WebhookError):
    """The body is signed but is not a JSON object."""


class GraphError(ServiceError):
    """A profile call that brought no profile; `problem` is what Meta said."""

    def __init__(self, problem: GraphProblem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


class UserFault(GraphError):
    """The answer is about the user; it counts towards the user's failures."""


class NobodysFault(GraphError):
    """Nothing was learned of the user, the account or the app."""


class UnclearFault(GraphError):
    """The user's, the account's or our own; `problem.reason` is the reason of a later pause."""


class AccountFault(GraphError):
    """Every call for this account would fail; `hold_s` is how long Meta says to stay away.

    `problem.reason` is the reason of the pause.
    """

    def __init__(self, problem: GraphProblem, hold_s: float | None = None) -> None:
        super().__init__(problem)
        self.hold_s = hold_s


class AppFault(AccountFault):
    """Every call of this app would fail."""
