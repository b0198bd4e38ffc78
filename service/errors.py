"""The exceptions that modules raise for each other.

ServiceError
├── UnavailableError        PostgreSQL or the broker did not answer in time: 503, retry
│   └── RefusedError        retrying cannot help: a wrong password, database or certificate
├── ListenError             the address or port to listen on is not available
├── UnstorableError         PostgreSQL refuses the values of a row
├── SettingsError           the process cannot start with this environment
├── SealError               no configured key decrypts this token
├── WebhookError            a delivery is refused
│   ├── SignatureError      not signed with one of our app secrets
│   └── PayloadError        signed, but not a JSON object
└── GraphError              a failed Graph call, classified by its cause
    ├── UserFault           Meta's answer about this user: charged to the user
    ├── NobodysFault        timeout, 5xx, not JSON: retried once
    ├── UnclearFault        a missing permission, a bad request: other users' answers show the cause
    ├── AccountFault        the account's token, rate limit or policy block: pauses the account
    └── AppFault            the app's rate limit: pauses the app
"""

from __future__ import annotations

from service.model.calls import GraphProblem


class ServiceError(Exception):
    """The base class of the service's own exceptions."""


class UnavailableError(ServiceError):
    """PostgreSQL or the broker cannot be reached now; the request can be repeated."""


class RefusedError(UnavailableError):
    """A server refuses the client connection for a reason that an operator must fix."""


class ListenError(ServiceError):
    """The service cannot listen on HOST and PORT."""


class UnstorableError(ServiceError):
    """PostgreSQL refuses the values of a row, so retrying cannot help."""


class SettingsError(ServiceError):
    """The environment is invalid; the message names every wrong setting, never a value."""


class SealError(ServiceError):
    """No configured key decrypts a stored token."""


class WebhookError(ServiceError):
    """A webhook delivery is refused."""


class SignatureError(WebhookError):
    """The signature is missing, malformed or made with another secret."""


class PayloadError(WebhookError):
    """The body is signed but is not a JSON object."""


class GraphError(ServiceError):
    """A Graph call failed; `problem` describes Meta's answer."""

    def __init__(self, problem: GraphProblem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


class UserFault(GraphError):
    """The failure concerns the user, and counts as one of the user's failures."""


class NobodysFault(GraphError):
    """The failure says nothing about the user, the account or the app."""


class UnclearFault(GraphError):
    """The cause is unclear; `problem.reason` is the reason of a pause if one follows."""


class AccountFault(GraphError):
    """Every call for this account would fail; `hold_s` is the wait that Meta asks for.

    `problem.reason` is the reason of the pause.
    """

    def __init__(self, problem: GraphProblem, hold_s: float | None = None) -> None:
        super().__init__(problem)
        self.hold_s = hold_s


class AppFault(AccountFault):
    """Every call of this app would fail."""
