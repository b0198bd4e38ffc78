"""The answers that the Graph simulator can give instead of a profile, by name.

The bodies follow Meta's error pages (graph-api/guides/error-handling, overview/rate-limiting)
and public captures. `ANSWERS` at the end lists all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from sandbox.graph.profiles import JsonObject

Host = Literal["facebook", "instagram"]
Behaviour = Literal[
    "timeout", "reset", "half_answer", "stalled_answer", "slow_drip", "huge_body", "redirect"
]


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A Graph error; `usage` names the usage header of throttling, `prefixed` adds "(#4) ".

    `regain_minutes` is the business header's estimated_time_to_regain_access.
    """

    status: int = 400
    code: int
    message: str
    type: str = "OAuthException"
    subcode: int | None = None
    is_transient: bool | None = None
    prefixed: bool = True
    usage: Literal["app", "business"] | None = None
    regain_minutes: int = 19

    def body(self, host: Host, trace_id: str) -> bytes:
        """Return the body; graph.instagram.com has its own type and no "(#code)" prefix."""
        prefix = f"(#{self.code}) " if self.prefixed and host == "facebook" else ""
        error: JsonObject = {
            "message": prefix + self.message,
            "type": "IGApiException" if host == "instagram" else self.type,
            "code": self.code,
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.is_transient is not None:
            error["is_transient"] = self.is_transient
        return msgspec.json.encode({"error": error | {"fbtrace_id": trace_id}})


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """Raw bytes, as from a proxy or a broken server."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TwistedProfile:
    """A 200 with a changed profile."""

    twist: Callable[[JsonObject], bytes]


@dataclass(frozen=True, slots=True)
class OddBehaviour:
    """An answer that fails below HTTP or never ends."""

    behaviour: Behaviour


Answer = ErrorAnswer | RawAnswer | TwistedProfile | OddBehaviour


def bad_field(name: str) -> ErrorAnswer:
    """Return the error for a field that profiles do not have."""
    return ErrorAnswer(code=100, message=f"Tried accessing nonexisting field ({name})")


def _token(subcode: int | None, message: str) -> ErrorAnswer:
    return ErrorAnswer(code=190, subcode=subcode, message=message, prefixed=False)


def _over(code: int, message: str, **more: object) -> ErrorAnswer:
    return msgspec.convert({"code": code, "message": message} | more, ErrorAnswer)


def _with(**changes: object) -> TwistedProfile:
    return TwistedProfile(lambda profile: msgspec.json.encode(profile | changes))


def _name_as(literal: bytes) -> TwistedProfile:
    """Replace the name with JSON text that no encoder would write."""
    return TwistedProfile(
        lambda profile: msgspec.json.encode(profile | {"name": msgspec.Raw(literal)})
    )


_ABOUT_THE_USER: dict[str, Answer] = {
    "consent_required": ErrorAnswer(
        code=230, message="User consent is required to access user profile"
    ),
    "consent_required_403": ErrorAnswer(
        status=403, code=230, message="User consent is required to access user profile"
    ),
    "not_found": ErrorAnswer(
        code=100,
        subcode=33,
        type="GraphMethodException",
        prefixed=False,
        message="Unsupported get request. Object with this ID does not exist, cannot be loaded due"
        " to missing permissions, or does not support this operation.",
    ),
    "no_matching_user": ErrorAnswer(code=9010, message="No matching Instagram user"),
    "alias_not_found": ErrorAnswer(
        status=404, code=803, message="Some of the aliases you requested do not exist"
    ),
    "unavailable_551": ErrorAnswer(code=551, message="This person isn't available right now."),
}

_ABOUT_THE_ACCOUNT: dict[str, Answer] = {
    "token_unparsable": _token(None, "Invalid OAuth access token - Cannot parse access token"),
    "token_expired": _token(463, "Error validating access token: Session has expired."),
    "token_revoked": _token(
        458, "Error validating access token: The user has not authorized application 123."
    ),
    "token_checkpointed": _token(
        459, "You cannot access the app till you log in to www.facebook.com."
    ),
    "password_changed": _token(
        460, "Error validating access token: The user changed their password."
    ),
    "token_unconfirmed": _token(
        464, "Error validating access token: The user is not a confirmed user."
    ),
    "token_logged_out": _token(
        467, "Error validating access token: The session is invalid because the user logged out."
    ),
    "token_401": ErrorAnswer(
        status=401, code=190, subcode=463, prefixed=False, message="Session has expired."
    ),
    "session_invalid": ErrorAnswer(
        code=102, message="Session key invalid or no longer valid", prefixed=False
    ),
    "token_missing": ErrorAnswer(
        code=104, message="An access token is required to request this resource.", prefixed=False
    ),
    "permission": ErrorAnswer(
        status=403, code=10, message="Application does not have permission for this action"
    ),
    "permission_200": ErrorAnswer(
        status=403,
        code=200,
        message="Requires instagram_manage_messages permission to manage the object",
    ),
    "policy_block": ErrorAnswer(
        code=368,
        message="The action attempted has been deemed abusive or is otherwise disallowed",
    ),
}

_THROTTLES: dict[str, Answer] = {
    "app_throttle": _over(
        4, "Application request limit reached", status=403, is_transient=True, usage="app"
    ),
    "app_throttle_341": _over(341, "Application limit reached", is_transient=True, usage="app"),
    "account_throttle": _over(17, "User request limit reached", subcode=2446079, is_transient=True),
    "page_throttle": _over(32, "Page request limit reached", is_transient=True),
    "custom_throttle": _over(613, "Calls to this api have exceeded the rate limit.", subcode=1996),
    "buc_throttle": _over(
        80002,
        "There have been too many calls to this Instagram account. Wait a bit and try again.",
        usage="business",
    ),
    "http_429": RawAnswer(429, b"Too Many Requests", "text/plain", {"Retry-After": "30"}),
}

# The answer does not show whether the app, the account or a user is at fault.
_BAD_REQUESTS: dict[str, Answer] = {
    "bad_field": bad_field("nope"),
    "proof_missing": ErrorAnswer(
        code=100,
        type="GraphMethodException",
        prefixed=False,
        message="API calls from the server require an appsecret_proof argument",
    ),
    "proof_invalid": ErrorAnswer(
        code=100,
        type="GraphMethodException",
        prefixed=False,
        message="Invalid appsecret_proof provided in the API argument",
    ),
    "person_unavailable": ErrorAnswer(
        code=100, subcode=2018218, message="This person can't be reached through the API."
    ),
    "unsupported_request": ErrorAnswer(
        code=100,
        type="IGApiException",
        prefixed=False,
        message="Unsupported request - method type: get",
    ),
    "no_capability": ErrorAnswer(
        code=3, message="Application does not have the capability to make this API call."
    ),
    "unknown_path": ErrorAnswer(code=2500, prefixed=False, message="Unknown path components"),
}

_NOBODYS: dict[str, Answer] = {
    "unknown": ErrorAnswer(status=500, code=1, prefixed=False, message="An unknown error occurred"),
    "unknown_400": ErrorAnswer(
        code=1, subcode=2853001, is_transient=False, message="An unknown error occurred"
    ),
    "service_error": ErrorAnswer(
        status=500,
        code=2,
        is_transient=True,
        prefixed=False,
        message="An unexpected error has occurred. Please retry your request later.",
    ),
    "transient": ErrorAnswer(
        code=551, is_transient=True, message="This person isn't available right now."
    ),
    "http_500": RawAnswer(500, b""),
    "http_503": RawAnswer(503, b"upstream connect error", "text/plain"),
    "html_502": RawAnswer(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html"),
    "html_200": RawAnswer(200, b"<!doctype html><title>Log in</title>", "text/html"),
    "truncated_json": RawAnswer(200, b'{"name":"Half a Sen'),
    "empty_body": RawAnswer(200, b""),
    "json_array": RawAnswer(200, b"[]"),
    "json_null": RawAnswer(200, b"null"),
    "bad_utf8": RawAnswer(200, b'{"name":"\xff\xfe","id":"1"}'),
    "deep_json": RawAnswer(200, b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "error_text": RawAnswer(400, b'{"error":"something went wrong"}'),
    "error_without_code": RawAnswer(400, b'{"error":{"message":"Something went wrong"}}'),
}

_TWISTED: dict[str, Answer] = {
    "wrong_id": TwistedProfile(
        lambda profile: msgspec.json.encode(profile | {"id": str(int(str(profile["id"])) + 1)})
    ),
    "numeric_id": TwistedProfile(
        lambda profile: msgspec.json.encode(profile | {"id": int(str(profile["id"]))})
    ),
    "no_id": TwistedProfile(
        lambda profile: msgspec.json.encode({k: v for k, v in profile.items() if k != "id"})
    ),
    "fields_absent": TwistedProfile(lambda profile: msgspec.json.encode({"id": profile["id"]})),
    "null_fields": _with(name=None, username=None, profile_pic=None),
    "blank_fields": _with(name=" ", username="", profile_pic=""),
    "odd_types": _with(name=["a", "list"], username=7, profile_pic={"url": "x"}),
    "long_name": _with(name="Sample " * 4_000),
    "nul_name": _name_as(b'"Sample\\u0000Sender"'),
    "surrogate_name": _name_as(b'"Sample \\ud83d"'),
    "huge_number": _name_as(b"1e400000"),
}

_ODD: dict[str, Answer] = {
    "timeout": OddBehaviour("timeout"),
    "reset": OddBehaviour("reset"),
    "half_answer": OddBehaviour("half_answer"),
    "stalled_answer": OddBehaviour("stalled_answer"),
    "slow_drip": OddBehaviour("slow_drip"),
    "huge_body": OddBehaviour("huge_body"),
    "redirect": OddBehaviour("redirect"),
}

ANSWERS: dict[str, Answer] = {
    **_ABOUT_THE_USER,
    **_ABOUT_THE_ACCOUNT,
    **_THROTTLES,
    **_BAD_REQUESTS,
    **_NOBODYS,
    **_TWISTED,
    **_ODD,
}
