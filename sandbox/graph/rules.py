"""The order of Graph's checks of a call: token, proof, rate, then the request."""

import time

from sandbox.graph.answers import ANSWERS, Answer, bad_field
from sandbox.graph.profiles import unknown_field
from sandbox.graph.replies import Ask, version_served
from sandbox.graph.world import GraphWorld, Scope

Refusal = tuple[str, Answer]


def refusal(world: GraphWorld, ask: Ask) -> Refusal | None:
    """Return the name and answer that refuse a call, whatever it asks for; None if it passes."""
    scripted = _scripted(world, ask)
    if scripted is not None:
        return scripted
    name = _path_problem(ask) or _token_problem(world, ask) or _rate_problem(world, ask)
    return None if name is None else (name, ANSWERS[name])


def profile_refusal(world: GraphWorld, ask: Ask) -> Refusal | None:
    """Return what refuses a profile call: `refusal`, the user's script, or an unknown field."""
    stopped = refusal(world, ask)
    if stopped is not None:
        return stopped
    if not ask.node.isdecimal():
        return "alias_not_found", ANSWERS["alias_not_found"]
    script = world.scripted(("user", ask.node))
    if script is not None:
        return script.name, script.answer
    field = unknown_field(ask.fields)
    return None if field is None else ("bad_field", bad_field(field))


def _scripted(world: GraphWorld, ask: Ask) -> Refusal | None:
    account = ask.ig_account_id or ""
    scopes: list[tuple[Scope, str]] = [
        ("all", ""),
        ("token", ask.token_sha),
        ("account", account),
    ]
    if "user_id" in ask.request.query:  # does not use up answers for profile calls
        script = world.scripted(("conversations", account)) or world.peek(*scopes)
    else:
        script = world.scripted(*scopes)
    return None if script is None else (script.name, script.answer)


def _path_problem(ask: Ask) -> str | None:
    return "unknown_path" if version_served(ask.version) is None else None


def _token_problem(world: GraphWorld, ask: Ask) -> str | None:
    if not ask.token:
        return "token_missing"
    known = world.token(ask.token_sha)
    if world.restrict_tokens and (known is None or known.login != ask.host):
        return "token_unparsable"
    if world.has_ended(ask.token_sha):
        return "token_expired"
    return world.proof_problem(ask.token, ask.proof) if ask.host == "facebook" else None


def _rate_problem(world: GraphWorld, ask: Ask) -> str | None:
    if world.throttle is None or ask.edge or world.throttle.admit(time.monotonic()):
        return None
    return "app_throttle"
