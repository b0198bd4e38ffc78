"""The meanings of the simulator's answers: a sentence, the effect, and its duration."""

from dataclasses import dataclass

from sandbox.graph.answers import ANSWERS


@dataclass(frozen=True, slots=True)
class Outcome:
    """The service's reaction to a kind of answer.

    `reason` is the reason in the lookup, None if the person gets the values that Meta sent.
    """

    title: str
    reason: str | None
    expect: str
    lasts: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """An answer's name, its meaning and its effect."""

    answer: str
    says: str
    outcome: Outcome


_RETRIES = (
    "Each person is tried again after 1 min, 10 min, 1 h and 6 h, and at once when they write "
    "again 10 minutes or more after the last try; after 5 failures retries stop."
)
_CONSENT = Outcome(
    "About one person: no consent",
    "consent_required",
    "The person keeps the @user_… placeholder, and nobody else is affected. Where the conversation "
    "has a username, that names the person.",
    _RETRIES,
)
_NOT_FOUND = Outcome(
    "About one person: unknown to Meta",
    "not_found",
    "The person keeps the @user_… placeholder, and nobody else is affected. Where the conversation "
    "has a username, that names the person.",
    "Each person is tried again after 1 min, 10 min, 1 h and 6 h; after 5 failures retries stop.",
)
_REFUSED = Outcome(
    "About one person: refused",
    "refused",
    "The person keeps the @user_… placeholder, and nobody else is affected. Where the conversation "
    "has a username, that names the person.",
    "Each person is tried again after 1 min, 10 min, 1 h and 6 h; after 5 failures retries stop.",
)
_TOKEN = Outcome(
    "About the account: its token is dead",
    "token_invalid",
    "The account is paused at the first call, and nobody's failures are counted.",
    "Until a new token is stored. Mend stores the sample account's token again.",
)
_PERMISSION = Outcome(
    "About the account: a permission is missing",
    "permission",
    "Two different people in a row are believed: the second DM pauses the account.",
    "The pause lasts an hour, or until a new token is stored. Mend stores the token again.",
)
_POLICY = Outcome(
    "About the account: blocked",
    "policy_block",
    "The account is paused at the first call, and the log says so as an error.",
    "The pause lasts 6 hours. Mend, then end the pauses.",
)
_APP_THROTTLE = Outcome(
    "Throttled: the whole app",
    "throttled",
    "All calls are paused at the first answer, and nobody's failures are counted.",
    "1 minute, twice as long each time, an hour at most; then one call looks whether it is over.",
)
_ACCOUNT_THROTTLE = Outcome(
    "Throttled: one account",
    "throttled",
    "The account is paused at the first answer, and nobody's failures are counted.",
    "As long as Meta says, else 1 minute, twice as long each time, an hour at most.",
)
_BAD_REQUEST = Outcome(
    "A wrong request",
    "bad_request",
    "One answer alone blames the person. A second person refused so pauses the account, and with a "
    "second account the whole app; the log has an error.",
    "1 minute, twice as long each time, 10 minutes at most; then one call looks if it is over.",
)
_UPSTREAM = Outcome(
    "Meta fails",
    "upstream_error",
    "Each call is tried twice. Five different people in a row make an outage: all calls are "
    "paused, and those five get their failure back.",
    "Fewer people are tried again after 1 min, 10 min, 1 h and 6 h. An outage pauses calls for "
    "10 s, twice as long each time, 5 minutes at most; one good answer ends it.",
)
_TIMEOUT = Outcome(
    "Meta is too slow",
    "timeout",
    "A call is given up after 2 s and tried once more. Five different people in a row make an "
    "outage: all calls are paused, and those five get their failure back.",
    _UPSTREAM.lasts,
)
_NAMED = Outcome(
    "An odd profile that still names the person",
    None,
    "The person gets the name. Nothing is paused.",
    "The name is good for 7 days.",
)
_NAMELESS = Outcome(
    "A profile without a name",
    None,
    "The fetch is a success, and the person keeps the @user_… placeholder. Nothing is paused.",
    "The answer is good for 7 days.",
)

_SENTENCES: dict[Outcome, dict[str, str]] = {
    _CONSENT: {
        "consent_required": "The person has not consented that the business sees the profile.",
        "consent_required_403": "The same, with HTTP 403 instead of 400.",
    },
    _NOT_FOUND: {
        "not_found": "Meta has nobody by this id for this account.",
        "no_matching_user": "Meta finds no matching Instagram user (code 9010).",
        "alias_not_found": "Meta takes the id for an alias that does not exist (code 803).",
    },
    _REFUSED: {
        "unavailable_551": "This person isn't available right now (code 551).",
        "token_missing": "Meta says that no access token came with the call (code 104).",
    },
    _TOKEN: {
        "token_expired": "The account's access token has expired.",
        "token_revoked": "The account has removed the app.",
        "password_changed": "The account's owner has changed the password.",
        "token_checkpointed": "The owner has to log in to Facebook and clear a security check.",
        "token_unconfirmed": "The owner is not a confirmed user.",
        "token_logged_out": "The owner has logged out.",
        "token_unparsable": "Meta can't read the access token.",
        "token_401": "The token has expired, with HTTP 401 instead of 400.",
        "session_invalid": "The session key is invalid (code 102).",
    },
    _PERMISSION: {
        "permission": "The app has no permission for this (code 10).",
        "permission_200": "The token lacks instagram_manage_messages (code 200).",
    },
    _POLICY: {"policy_block": "Meta has blocked the account for its behaviour (code 368)."},
    _APP_THROTTLE: {
        "app_throttle": "The app has made too many calls (code 4).",
        "app_throttle_341": "The app has reached its limit (code 341).",
    },
    _ACCOUNT_THROTTLE: {
        "account_throttle": "Too many calls for this user's token (code 17).",
        "page_throttle": "Too many calls for this page (code 32).",
        "custom_throttle": "Too many calls of this kind (code 613).",
        "buc_throttle": "Too many calls to this account; Meta asks for 19 minutes (code 80002).",
        "http_429": "HTTP 429 from a proxy, which asks for 30 seconds.",
    },
    _BAD_REQUEST: {
        "bad_field": "The call asks for a field that profiles don't have (code 100).",
        "proof_missing": "The call carries no appsecret_proof.",
        "proof_invalid": "The appsecret_proof is wrong, as with another app's secret.",
        "person_unavailable": "This person can't be reached through the API (code 100).",
        "unsupported_request": "Meta does not support the request's method, it says.",
        "no_capability": "The app lacks the capability for this call (code 3).",
        "unknown_path": "Meta does not know the path, as with a version it doesn't serve.",
    },
    _UPSTREAM: {
        "unknown": "An unknown error, with HTTP 500 (code 1).",
        "unknown_400": "An unknown error, with HTTP 400 (code 1).",
        "service_error": "An unexpected error; please retry later (code 2).",
        "transient": "This person isn't available, and Meta calls that transient.",
        "http_500": "HTTP 500 with an empty body.",
        "http_503": "HTTP 503 from a proxy in front of Meta.",
        "html_502": "HTTP 502 as an HTML page.",
        "html_200": "A log-in page as HTML, with HTTP 200.",
        "truncated_json": "JSON that stops in the middle.",
        "empty_body": "HTTP 200 with an empty body.",
        "json_array": "A JSON array instead of an object.",
        "json_null": "The JSON value null.",
        "bad_utf8": "JSON with bytes that are not UTF-8.",
        "deep_json": "JSON nested 100,000 deep.",
        "error_text": "An error that is a text instead of an object.",
        "error_without_code": "An error without a code.",
        "wrong_id": "The profile of somebody else.",
        "reset": "The connection is reset.",
        "half_answer": "The connection closes in the middle of the answer.",
        "huge_body": "An answer that goes on for many megabytes.",
        "redirect": "A redirect, which the service does not follow.",
    },
    _TIMEOUT: {
        "timeout": "Meta takes the call and never answers.",
        "stalled_answer": "Meta sends half an answer, then nothing more.",
        "slow_drip": "Meta sends one byte at a time.",
    },
    _NAMED: {
        "numeric_id": "The profile's id is a number instead of a text.",
        "no_id": "The profile has no id.",
        "long_name": "The name is 28,000 characters long.",
        "nul_name": "The name holds a NUL character, which PostgreSQL can't store.",
        "surrogate_name": "The name ends in half an emoji.",
        "huge_number": "The name is a number too large for any computer; the username is fine.",
    },
    _NAMELESS: {
        "fields_absent": "The profile has an id and nothing else.",
        "null_fields": "Name, username and picture are null.",
        "blank_fields": "Name, username and picture are empty.",
        "odd_types": "The name is a list, the username a number, the picture an object.",
    },
}

MEANINGS: dict[str, Meaning] = {
    answer: Meaning(answer, says, outcome)
    for outcome, sentences in _SENTENCES.items()
    for answer, says in sentences.items()
}
# For the terminal's menu: the most interesting one of each kind.
USUAL = (
    "app_throttle",
    "token_expired",
    "permission",
    "http_500",
    "timeout",
    "consent_required",
    "not_found",
    "http_429",
    "null_fields",
)

if MEANINGS.keys() != ANSWERS.keys():
    raise RuntimeError(f"without a meaning, or unknown: {MEANINGS.keys() ^ ANSWERS.keys()}")
