"""Explains the reasons of failures and pauses to operators, with the cure for each."""

from __future__ import annotations

import msgspec

from service.wording import shell_word

_ADD = "python -m service connections add ACCOUNT --location LOCATION"
_RETRY = "python -m service backfill --location LOCATION --include-failed"


class Reason(msgspec.Struct, frozen=True):
    """A reason in a few words, what to do, and the command for it.

    `is_normal`: nothing to do if it affects few people. `is_of_account`: it affects everybody of
    an account or of the app. `one`, `all` and `some` are the sentences for one person, for all of
    them, and for `{n}` of them.
    """

    words: str
    cure: str
    command: str | None = None
    is_normal: bool = False
    is_of_account: bool = False
    one: str = ""
    all: str = ""
    some: str = ""

    @property
    def advice(self) -> str:
        """The cure, with the command."""
        return self.advise("ACCOUNT", "LOCATION")

    def advise(self, ig_account_id: str, location_id: str | None) -> str:
        """Return what to do about one account, with a command that can be pasted."""
        command = self.command_of(ig_account_id, location_id)
        return f"{self.cure} Command: {command}" if command else self.cure

    def command_of(self, ig_account_id: str, location_id: str | None) -> str | None:
        """Return the command with the real ids filled in."""
        if self.command is None:
            return None
        words = {
            "ACCOUNT": shell_word(ig_account_id),
            "LOCATION": shell_word(location_id) if location_id else "LOCATION",
        }
        return " ".join(words.get(word, word) for word in self.command.split(" "))

    def of_people(self, number: int, *, is_all: bool) -> str:
        """Return the sentence for this many people; `is_all`: it affects all of them."""
        if not self.some:
            return self.words
        if is_all:
            return self.one if number == 1 else self.all
        return self.some.format(n=f"{number:,}")


_UNKNOWN = Reason("a reason that this version does not know", "Search for it in the service's log.")

REASONS: dict[str, Reason] = {
    "consent_required": Reason(
        "Meta has no consent of the person yet",
        "Nothing to do: the person consents by writing to the account, and the name is then "
        "fetched immediately.",
        is_normal=True,
        one="Meta says that this person has not consented",
        all="Meta says that none of them has consented",
        some="Meta says that {n} of them have not consented",
    ),
    "not_found": Reason(
        "Meta knows nobody by this id for this account (left, blocked, or another app's id)",
        "Nothing to do for a few. If it is nearly everybody, the connection's token belongs to "
        "another account: connect the right one with `connections add`.",
        is_normal=True,
        one="Meta does not know this person",
        all="Meta knows none of them",
        some="Meta does not know {n} of them",
    ),
    "refused": Reason(
        "Meta refuses this person's profile with an error of another kind",
        "Run `doctor --user` for the person: it shows Meta's message.",
        is_normal=True,
        one="Meta refuses this person's profile",
        all="Meta refuses the profile of each of them",
        some="Meta refuses the profiles of {n} of them",
    ),
    "timeout": Reason(
        "Meta did not answer in time",
        "Check the network path to Meta and GRAPH_TIMEOUT_SECONDS, then retry those who failed.",
        _RETRY,
        one="Meta did not answer in time",
        all="Meta did not answer in time for any of them",
        some="Meta did not answer in time for {n} of them",
    ),
    "upstream_error": Reason(
        "Meta answered with an error of its own",
        "See https://metastatus.com, and give Meta's support the trace id; once it is over, retry "
        "those who failed.",
        _RETRY,
        one="Meta answered with an error of its own",
        all="Meta answered with errors of its own for all of them",
        some="Meta answered with errors of its own for {n} of them",
    ),
    "token_invalid": Reason(
        "Meta refuses the account's access token",
        "Get a new token from Meta and store it; its users are then fetched immediately.",
        _ADD,
        is_of_account=True,
    ),
    "permission": Reason(
        "the account's token lacks a permission",
        "Log the account in to the app again with instagram_basic and instagram_manage_messages "
        "(Instagram login: instagram_business_basic and instagram_business_manage_messages) "
        "granted, store the new token, and check that the app has Advanced Access to them.",
        _ADD,
        is_of_account=True,
    ),
    "no_connection": Reason(
        "messages arrive for an account that is not connected",
        "Connect it, or make it an alias of the account it belongs to.",
        _ADD,
        is_of_account=True,
    ),
    "throttled": Reason(
        "Meta's rate limit is used up",
        "Wait: calls resume automatically. If it happens every day, lower GRAPH_CALLS_PER_SECOND.",
        is_of_account=True,
    ),
    "outage": Reason(
        "Meta failed for five users in a row, which counts as an outage",
        "Wait: single calls check from time to time whether it is over. See "
        "https://metastatus.com.",
        is_of_account=True,
    ),
    "bad_request": Reason(
        "Meta calls our requests wrong",
        "Check META_APP_SECRETS (the first one must be the secret of the app that made the token), "
        "GRAPH_BASE_URL and GRAPH_API_VERSION, then restart the service.",
        is_of_account=True,
    ),
    "policy_block": Reason(
        "Meta has blocked the account's calls for a breach of its policies (code 368)",
        "Waiting does not help: see the account's Support Inbox and Account Status at Meta, "
        "resolve the block there, then lift the pause in the console under Accounts.",
        is_of_account=True,
    ),
    "not_finished": Reason("not finished in time", "They stay queued.", is_normal=True),
    "unknown": Reason("no reason was stored", "Search for the user in the service's log."),
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
    """Return the explanation of a reason."""
    return REASONS.get(name, _UNKNOWN)


def short_reason(name: str) -> str:
    """Return a reason's name and words."""
    return f"{name}: {reason_of(name).words}"


def why_token_ended(subcode: int | None) -> str:
    """Return why a token is dead, from its subcode (Graph API: Handling errors, 190 and 102)."""
    return _TOKEN_ENDS.get(subcode or 0, "Meta no longer accepts it")
