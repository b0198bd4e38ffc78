"""Interprets Graph API answers, and attributes failures to the user, the account or the app.

Source: Meta for Developers, "Graph API: Handling errors". Errors are classified by
`code` and `error_subcode`, never by the HTTP status alone and never by the message.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from service.errors import AccountFault, AppFault, GraphError, NobodysFault, UnclearFault, UserFault
from service.graph.calls import Answer, upstream_problem
from service.graph.usage import Usage
from service.model.calls import GraphProblem, Profile
from service.model.contacts import ig_id
from service.model.identity import bounded_name, is_blank

PROFILE_FIELDS = ("name", "username", "profile_pic")
_THROTTLE_CODES = frozenset({4, 17, 32, 341, 613, *range(80000, 80015)})
LONGEST_MESSAGE = 1000  # characters
APP_THROTTLE_CODES = frozenset({4, 341})
_PASSING_CODES = frozenset({1, 2})
_NOT_FOUND_CODES = frozenset({9010, 803})
_NOT_FOUND = (100, 33)
_DECISIONS: dict[int, tuple[type[GraphError], str]] = {
    **dict.fromkeys((10, *range(200, 300)), (UnclearFault, "permission")),
    **dict.fromkeys((100, 3, 2500), (UnclearFault, "bad_request")),
    **dict.fromkeys((102, 190), (AccountFault, "token_invalid")),
    368: (AccountFault, "policy_block"),
    230: (UserFault, "consent_required"),  # documented as a permission error
}


def read_profile(ig_user_id: str, answer: Answer, usage: Usage) -> Profile:
    """Return the user's profile from an answer, or raise the fault that it reports.

    An answer without an id counts as the user's; an answer without any profile field is a fault.
    """
    body = read_object(answer, usage)
    if body.get("id") is not None and ig_id(body["id"]) != ig_user_id:
        raise NobodysFault(upstream_problem("the answer is another user's"))
    if "id" not in body and not any(field in body for field in PROFILE_FIELDS):
        raise NobodysFault(upstream_problem("the answer is no profile"))
    return Profile(
        username=_name(body.get("username")),
        name=_name(body.get("name")),
        profile_pic_url=_text(body.get("profile_pic")),
        raw=json.dumps(body, ensure_ascii=False, allow_nan=False),
    )


def read_object(answer: Answer, usage: Usage) -> dict[str, Any]:
    """Return the JSON object of a successful answer, or raise the fault that it reports."""
    if answer.body is None:
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise AccountFault(GraphProblem("throttled", message="HTTP 429"), usage.throttled_s)
        message = f"HTTP {answer.status}, and the body is not a JSON object"
        raise NobodysFault(upstream_problem(message))
    if "error" in answer.body or answer.status != HTTPStatus.OK:
        raise read_error(answer.status, answer.body.get("error"), usage)
    return answer.body


def read_error(status: int, error: object, usage: Usage) -> GraphError:
    """Classify an error object by its code and subcode; throttling codes take precedence."""
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    code, subcode = _integer(fields.get("code")), _integer(fields.get("error_subcode"))

    def problem(reason: str) -> GraphProblem:
        return GraphProblem(
            reason, code, subcode, _words(fields.get("message")), _words(fields.get("fbtrace_id"))
        )

    if code in _THROTTLE_CODES or status == HTTPStatus.TOO_MANY_REQUESTS:
        fault = AppFault if code in APP_THROTTLE_CODES else AccountFault
        return fault(problem("throttled"), usage.throttled_s)
    if fields.get("is_transient") is True or code is None or code in _PASSING_CODES:
        return NobodysFault(problem("upstream_error"))
    whose, reason = _decision(code, subcode, status)
    return whose(problem(reason))


def _decision(code: int, subcode: int | None, status: int) -> tuple[type[GraphError], str]:
    if code in _NOT_FOUND_CODES or (code, subcode) == _NOT_FOUND:
        return UserFault, "not_found"
    if code in _DECISIONS:
        return _DECISIONS[code]
    is_metas = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return (NobodysFault, "upstream_error") if is_metas else (UserFault, "refused")


def _name(value: object) -> str | None:
    """Return a name with a visible character, or None."""
    return None if not isinstance(value, str) or is_blank(value) else bounded_name(value)


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value) if -(2**31) <= int(value) < 2**31 else None
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _words(value: object) -> str | None:
    """Return Meta's text for people, truncated, for the tables and the log."""
    text = _text(value)
    return None if text is None else text[:LONGEST_MESSAGE]
