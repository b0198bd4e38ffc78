"""What the reasons of failures and pauses mean to an operator, and what to do about each."""

from __future__ import annotations

import msgspec

from service.wording import printable


class Reason(msgspec.Struct, frozen=True):
    """A reason in a few words, and what to do; `is_normal` where that is nothing."""

    words: str
    advice: str
    is_normal: bool = False

    def advise(self, ig_account_id: str, location_id: str) -> str:
        """Say what to do about one account, as it may be pasted."""
        named = self.advice.replace("ACCOUNT", ig_account_id)
        return named.replace("LOCATION", printable(location_id))


_UNKNOWN = Reason("a reason that this version does not know", "Look for it in the service's log.")

REASONS: dict[str, Reason] = {
    "consent_required": Reason(
        "Meta has no consent of the person yet",
        "Nothing to do: writing to the account is what gives consent, and then the name is "
        "fetched at once.",
        is_normal=True,
    ),
    "not_found": Reason(
        "Meta knows nobody by this id for this account (left, blocked, or another app's id)",
        "Nothing to do for a few. If it is nearly everybody, the connection's token belongs to "
        "another account: connect the right one with `connections add`.",
        is_normal=True,
    ),
    "timeout": Reason(
        "Meta did not answer in time",
        "Look at the way from here to Meta and at GRAPH_TIMEOUT_SECONDS; then run `backfill` with "
        "--include-failed.",
    ),
    "upstream_error": Reason(
        "Meta answered with an error of its own",
        "Look at https://metastatus.com and give Meta's support the trace id; when it is over, run "
        "`backfill` with --include-failed.",
    ),
    "token_invalid": Reason(
        "the account's access token is dead",
        "Get a new token from Meta and store it: `connections add ACCOUNT --location LOCATION`. "
        "Its users are then fetched at once.",
    ),
    "permission": Reason(
        "the account's token lacks a permission",
        "Connect the account again with every permission that step 2 names as missing, and check "
        "that the app has Advanced Access to instagram_manage_messages.",
    ),
    "no_connection": Reason(
        "messages come in for an account that is not connected",
        "Connect it: `connections add ACCOUNT --location LOCATION`.",
    ),
    "throttled": Reason(
        "Meta's limit of calls is used up",
        "Wait: calls go on by themselves. If it comes back every day, lower "
        "GRAPH_CALLS_PER_SECOND.",
    ),
    "outage": Reason(
        "Meta failed for five users in a row, which counts as an outage",
        "Wait: a single call looks from time to time whether it is over. See "
        "https://metastatus.com.",
    ),
    "bad_request": Reason(
        "Meta refuses the way we call it",
        "Check META_APP_SECRETS (the first one must be the secret of the app that made the token), "
        "GRAPH_BASE_URL and GRAPH_API_VERSION, then restart the service.",
    ),
    "not_finished": Reason("not finished in time", "They stay queued.", is_normal=True),
    "unknown": Reason("no reason was stored", "Look for the user in the service's log."),
}

_TOKEN_ENDS = {
    458: "the person removed the app, or never allowed it",
    459: "the person has to log in at facebook.com and pass a checkpoint",
    460: "the person changed the password",
    463: "the token has expired",
    464: "the person's Facebook account is not confirmed",
    467: "the person logged out, which ended the session",
}


def reason_of(name: str) -> Reason:
    """Explain a reason."""
    return REASONS.get(name, _UNKNOWN)


def short_reason(name: str) -> str:
    """Name a reason and put it into words."""
    return f"{name}: {reason_of(name).words}"


def why_token_ended(subcode: int | None) -> str:
    """Put the subcode of a dead token into words (Graph API: Handling errors, 190 and 102)."""
    return _TOKEN_ENDS.get(subcode or 0, "Meta does not accept it any more")
