"""The Graph simulator's state: tokens, accounts, profiles and scripted errors. No I/O."""

import hashlib
import hmac
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, cast

from sandbox.graph.albums import Album
from sandbox.graph.answers import ANSWERS, Answer, ErrorAnswer, Host
from sandbox.graph.calls import token_sha
from sandbox.graph.profiles import JsonObject, made_up_profile
from sandbox.graph.throttle import Throttle

Scope = Literal["all", "token", "account", "user", "conversations"]
Usage = int | JsonObject | None  # percent, or the header's JSON

_DAY_S = 86_400


@dataclass(slots=True)
class Script:
    """An answer for the next `remaining` calls; None: until it is changed."""

    answer: Answer
    name: str
    remaining: int | None

    def take(self) -> bool:
        """Count one call; returns False if no calls remained."""
        if self.remaining == 0:
            return False
        if self.remaining is not None:
            self.remaining -= 1
        return True


@dataclass(slots=True)
class Account:
    """An Instagram account: whether the app is subscribed, and its conversations."""

    subscribed: bool = True
    conversations: list[tuple[str, datetime]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Thread:
    """How a conversation with a user is listed.

    Meta leaves out idle threads of the Requests folder, and sometimes a username;
    `participants` replaces all of them.
    """

    username: str | None = None  # None: the profile's
    hides_username: bool = False
    is_business_first: bool = True
    is_listed: bool = True
    participants: list[JsonObject] | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token's account, its host, and fields that debug_token adds or overrides."""

    ig_account_id: str | None
    login: Host
    debug: JsonObject
    issued_at_s: float = 0.0
    ends_at_s: float = math.inf


_LISTED = Thread()


class GraphWorld:
    """The switchable state of the simulator.

    `introduce` adds people and accounts at the start and after each reset.
    """

    def __init__(
        self,
        *,
        app_secret: str | None = None,
        now: Callable[[], float] = time.time,
        introduce: Callable[["GraphWorld"], None] | None = None,
    ) -> None:
        self.app_secret = app_secret
        self._now = now
        self._introduce = introduce
        self.album = Album(now)
        self.reset()

    def reset(self) -> None:
        """Reset everything; the app secret stays."""
        self.restrict_tokens = False
        self.album.reset()
        self.accounts: dict[str, Account] = {}
        self.redirects_followed = 0
        self._random = random.Random(0)  # noqa: S311 - not a secret
        self._tokens: dict[str, Token] = {}
        self.renewals: list[str] = []
        self.renewal_ends_old_token = False
        self._profiles: dict[str, JsonObject] = {}
        self._threads: dict[str, Thread] = {}
        self.mend()

    def mend(self) -> None:
        """Answer every call normally; accounts, tokens and profiles stay."""
        self.usage: Usage = None
        self.business_usage: Usage = None
        self.throttle: Throttle | None = None
        self._latency_ms = (0.0, 0.0)
        self._scripts: dict[tuple[Scope, str], Script] = {}
        if self._introduce is not None:
            self._introduce(self)

    def scripts(self) -> list[JsonObject]:
        """List the scripted answers: scope, key and answer name."""
        return [
            {"scope": scope, "key": key, "answer": script.name, "remaining": script.remaining}
            for (scope, key), script in self._scripts.items()
            if script.remaining != 0
        ]

    def add_account(self, ig_account_id: str, *tokens: str, login: Host = "facebook") -> Account:
        """Add an account and its tokens; from now on only known tokens are accepted."""
        for token in tokens:
            self.add_token(token, ig_account_id=ig_account_id, login=login)
        return self.accounts.setdefault(ig_account_id, Account())

    def add_token(
        self,
        token: str,
        *,
        ig_account_id: str | None = None,
        login: Host = "facebook",
        debug: JsonObject | None = None,
        ends_at_s: float = math.inf,
    ) -> None:
        """Add a token for the host of its login; from now on unknown tokens answer 190."""
        known = Token(ig_account_id, login, debug or {}, self._now(), ends_at_s)
        self._tokens[token_sha(token)] = known
        self.restrict_tokens = True

    def has_ended(self, sha: str) -> bool:
        """Return whether a token has expired."""
        known = self.token(sha)
        return known is not None and known.ends_at_s <= self._now()

    def end_token(self, sha: str) -> None:
        """End a token now."""
        self._tokens[sha] = replace(self._tokens[sha], ends_at_s=self._now())

    def token(self, sha: str) -> Token | None:
        """Return a token by its hash."""
        return self._tokens.get(sha)

    def set_profile(self, ig_user_id: str, **fields: object) -> None:
        """Override fields of a user's generated profile; without fields, restore it."""
        self._profiles[ig_user_id] = fields

    def profile(self, ig_user_id: str) -> JsonObject:
        """Return a user's whole profile: generated, with the overrides.

        The picture's URL differs at each call; its expiry moves a day at a time.
        """
        now_s = self._now()
        picture = self.album.url(ig_user_id, now_s - now_s % _DAY_S + 4 * _DAY_S)
        made_up = made_up_profile(ig_user_id) | {"profile_pic": picture}
        return made_up | self._profiles.get(ig_user_id, {})

    def set_answer(
        self,
        answer: str | Answer | None,
        *,
        user: str | None = None,
        account: str | None = None,
        token: str | None = None,
        conversations: str | None = None,
        times: int | None = None,
    ) -> None:
        """Script the next `times` calls (None: all) of a user, account or token.

        `conversations` is an account whose conversation calls are meant. With none of the four,
        every call is meant; `answer` None restores normal answers. Raises ValueError for a name
        that is not in `ANSWERS`.
        """
        scope = _scope(user=user, account=account, token=token, conversations=conversations)
        if answer is None:
            self._scripts.pop(scope, None)
            return
        name = answer if isinstance(answer, str) else _name_of(answer)
        self._scripts[scope] = Script(_known(answer), name, times)

    def scripted(self, *scopes: tuple[Scope, str]) -> Script | None:
        """Return the first scripted answer of these scopes, and count one call of it."""
        if not self._scripts:
            return None
        found = (self._scripts.get(scope) for scope in scopes)
        return next((script for script in found if script and script.take()), None)

    def peek(self, *scopes: tuple[Scope, str]) -> Script | None:
        """Return the first scripted answer of these scopes without counting a call."""
        found = (self._scripts.get(scope) for scope in scopes)
        return next((script for script in found if script and script.remaining != 0), None)

    def set_latency(self, ms: float | tuple[float, float]) -> None:
        """Delay every answer by `ms` milliseconds, or by a random time between two values."""
        low, high = ms if isinstance(ms, tuple) else (ms, ms)
        if not 0 <= low <= high:
            raise ValueError("latency must be 0 or more, and a range must rise")
        self._latency_ms = (float(low), float(high))

    def latency_s(self) -> float:
        """Return the next answer's delay in seconds."""
        low, high = self._latency_ms
        return (low if low == high else self._random.uniform(low, high)) / 1000

    def set_usage(self, app: Usage = None, business: Usage = None) -> None:
        """Send X-App-Usage and X-Business-Use-Case-Usage: a percentage, the JSON, or no header."""
        self.usage, self.business_usage = app, business

    def set_throttle(self, calls_per_s: float | None, window_s: float = 1.0) -> None:
        """Answer code 4 above rate x window + 2 calls in a window; None ends throttling."""
        self.throttle = None if calls_per_s is None else Throttle(calls_per_s, window_s)

    def set_subscribed(self, ig_account_id: str, *, subscribed: bool) -> None:
        """Set whether the app is subscribed to the account's webhooks."""
        self.accounts.setdefault(ig_account_id, Account()).subscribed = subscribed

    def set_conversations(
        self, ig_account_id: str, conversations: list[tuple[str, datetime]]
    ) -> None:
        """Set an account's conversations as (user id, time of the last message)."""
        newest_first = sorted(conversations, key=lambda item: item[1], reverse=True)
        self.accounts.setdefault(ig_account_id, Account()).conversations = newest_first

    def set_thread(self, ig_user_id: str, ig_account_id: str, thread: Thread | None = None) -> None:
        """Set how the conversation of a user and an account is listed."""
        account = self.accounts.setdefault(ig_account_id, Account())
        if all(user != ig_user_id for user, _ in account.conversations):
            account.conversations.insert(0, (ig_user_id, self.now()))
        self._threads[ig_user_id] = thread or Thread()

    def thread(self, ig_user_id: str) -> Thread:
        """Return how the conversations with a user are listed."""
        return self._threads.get(ig_user_id, _LISTED)

    def proof_problem(self, token: str, proof: str | None) -> str | None:
        """Return the answer to a wrong appsecret_proof; None if it is right or not checked."""
        if self.app_secret is None:
            return None
        if proof is None:
            return "proof_missing"
        right = hmac.digest(self.app_secret.encode(), token.encode(), hashlib.sha256).hex()
        return None if hmac.compare_digest(proof.encode(), right.encode()) else "proof_invalid"

    def now(self) -> datetime:
        """Return the time in the simulated world."""
        return datetime.fromtimestamp(self._now(), UTC)


def _scope(**named: str | None) -> tuple[Scope, str]:
    given = [(scope, key) for scope, key in named.items() if key is not None]
    if len(given) > 1:
        raise ValueError("name one of user, account, token and conversations")
    if not given:
        return "all", ""
    [(scope, key)] = given
    return cast("Scope", scope), token_sha(key) if scope == "token" else key


def _known(answer: str | Answer) -> Answer:
    if not isinstance(answer, str):
        return answer
    if answer not in ANSWERS:
        raise ValueError(f"no answer is called {answer!r}; there are: {', '.join(ANSWERS)}")
    return ANSWERS[answer]


def _name_of(answer: Answer) -> str:
    return f"code_{answer.code}" if isinstance(answer, ErrorAnswer) else type(answer).__name__
