"""The sandbox's sample deliveries, their senders, and the expected results."""

from dataclasses import dataclass, field

from sandbox import samples
from sandbox.graph.world import GraphWorld, Thread

SAMPLE_ACCOUNT, SAMPLE_LOCATION = "17841499000000001", "sandbox"
SAMPLE_TOKEN = "EAASandboxSampleToken"  # noqa: S105 - of the simulator


@dataclass(frozen=True, slots=True)
class Sender:
    """A generated user: its description, its profile at Graph, and the expected lookup."""

    ig_user_id: str
    what: str
    display_name: str
    state: str = "resolved"
    reason: str | None = None
    profile: dict[str, object] = field(default_factory=dict)
    graph_answer: str | None = None
    has_picture: bool = True
    thread: Thread = field(default_factory=Thread)


def _known(ig_user_id: str, what: str, username: str) -> Sender:
    return Sender(ig_user_id, what, f"@{username}", profile={"username": username})


RESOLVED = Sender(
    "9000000000100001",
    "wrote a message",
    "@sample.sender",
    profile={"username": "sample.sender", "name": "Sample Sender"},
)
NAME_ONLY = Sender(
    "9000000000100002",
    "name, no username",
    "Name Only",
    profile={"username": None, "name": "Name Only"},
)
NAMELESS = Sender(
    "9000000000100003",
    "no name at all",
    "@user_100003",
    profile={"username": None, "name": "", "profile_pic": None},
    has_picture=False,
)
NO_CONSENT = Sender(
    "9000000000100004",
    "never consented",
    "@user_100004",
    state="pending",
    reason="consent_required",
    graph_answer="consent_required",
    has_picture=False,
    thread=Thread(is_listed=False),
)
GONE = Sender(
    "9000000000100005",
    "left Instagram",
    "@user_100005",
    state="pending",
    reason="not_found",
    graph_answer="not_found",
    has_picture=False,
    thread=Thread(hides_username=True),
)
WRITTEN_TO = _known("9000000000100006", "was written to", "echo.receiver")
TAPPED = _known("9000000000100007", "tapped a menu", "menu.tapper")
REACTED = _known("9000000000100008", "left a heart", "heart.giver")
STANDBY = _known("9000000000100009", "wrote on standby", "standby.sender")
READER = Sender("9000000000100010", "only read", "@user_100010", state="unknown", has_picture=False)
REFUSED = Sender(
    "9000000000100011",
    "named by the thread",
    "@thread.talker",
    reason="consent_required",
    graph_answer="consent_required",
    has_picture=False,
    thread=Thread(username="thread.talker"),
)

SENDERS = (
    RESOLVED,
    NAME_ONLY,
    NAMELESS,
    NO_CONSENT,
    GONE,
    WRITTEN_TO,
    TAPPED,
    REACTED,
    STANDBY,
    READER,
    REFUSED,
)


def introduce(world: GraphWorld) -> None:
    """Add the sample account and every sender to a simulated Graph."""
    world.add_account(SAMPLE_ACCOUNT, SAMPLE_TOKEN)
    world.set_conversations(SAMPLE_ACCOUNT, [(s.ig_user_id, world.now()) for s in SENDERS])
    for sender in SENDERS:
        world.set_profile(sender.ig_user_id, **sender.profile)
        world.set_answer(sender.graph_answer, user=sender.ig_user_id)
        world.set_thread(sender.ig_user_id, SAMPLE_ACCOUNT, sender.thread)


def sample_deliveries() -> list[bytes]:
    """Return the deliveries: one message each, an echo, and a batch of two entries."""
    account = SAMPLE_ACCOUNT
    single = (RESOLVED, NAME_ONLY, NAMELESS, NO_CONSENT, GONE, REFUSED)
    batch = samples.delivery(
        samples.entry(
            account,
            samples.postback(TAPPED.ig_user_id, account),
            samples.read(READER.ig_user_id, account),
            samples.reaction(REACTED.ig_user_id, account),
        ),
        samples.standby_entry(account, samples.message(STANDBY.ig_user_id, account)),
    )
    return [
        *(_alone(samples.message(sender.ig_user_id, account)) for sender in single),
        _alone(samples.echo(account, WRITTEN_TO.ig_user_id)),
        batch,
    ]


def _alone(item: samples.JsonObject) -> bytes:
    return samples.delivery(samples.entry(SAMPLE_ACCOUNT, item))
