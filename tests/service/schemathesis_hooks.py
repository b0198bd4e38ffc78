"""What schemathesis needs to know of this service: its keys, how Meta signs, what it knows of."""

import hashlib
import hmac
import os
import re

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis import HookContext
from schemathesis.auths import GLOBAL_AUTH_STORAGE

_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")

Query = dict[str, object] | None
Body = object


class Caller(AuthBase):
    """Sends the operator's key, and a signature that holds wherever a well-formed one is sent."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {os.environ['FUZZ_OPERATOR_KEY']}"
        if _SIGNATURE.fullmatch(str(request.headers.get("X-Hub-Signature-256", "")).lower()):
            request.headers["X-Hub-Signature-256"] = _signed(request.body)
        return request


def _signed(body: object) -> str:
    sent = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else b""
    secret = os.environ["FUZZ_APP_SECRET"].encode()
    return f"sha256={hmac.new(secret, sent, hashlib.sha256).hexdigest()}"


@schemathesis.hook
def map_query(context: HookContext, query: Query) -> Query:  # noqa: ARG001 - the hook's signature
    """Replace every other text that only one value opens: guessing never gets behind it."""
    for name, opens in (("hub.verify_token", "FUZZ_VERIFY_TOKEN"), ("locationId", "FUZZ_LOCATION")):
        given = (query or {}).get(name)
        if query and isinstance(given, str) and given and len(given) % 2:
            query[name] = os.environ[opens]
    return query


@schemathesis.hook
def map_body(context: HookContext, body: Body) -> Body:  # noqa: ARG001 - the hook's signature
    """Write 600.0 as 600: the same integer to JSON Schema, but none to the service."""
    if isinstance(body, dict):
        seconds = body.get("expiresIn")
        if isinstance(seconds, float) and seconds.is_integer():
            body["expiresIn"] = int(seconds)
    return body


GLOBAL_AUTH_STORAGE.set_from_requests(Caller())  # what `schemathesis.auth` stands for
