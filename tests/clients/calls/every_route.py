"""Call every route with the generated client; print what each answer was read as.

Run: python every_route.py SERVICE OPERATOR_KEY VERIFY_TOKEN APP_SECRET ACCOUNT TOKEN USER
"""

import hmac
import json
import sys
from typing import Any

from instagram_identity_client import AuthenticatedClient, Client
from instagram_identity_client.api.inbox import get_picture, get_user, get_users, make_grant
from instagram_identity_client.api.meta import receive_webhook, verify_webhook
from instagram_identity_client.api.operations import (
    announce_participants,
    backfill_messages,
    change_connection,
    delete_connection,
    erase_user,
    erase_users,
    get_status,
    lift_pause,
    list_connections,
    list_people,
    put_connection,
    refresh_user,
)
from instagram_identity_client.api.pages import (
    get_console_context,
    get_open_api,
    get_static_file,
    redirect_to_console,
    show_console,
    show_docs,
)
from instagram_identity_client.api.probes import get_liveness, get_metrics, get_readiness
from instagram_identity_client.models import (
    AnnouncedParticipant,
    AnnouncementBody,
    ConnectionBody,
    ConnectionChange,
    Delivery,
    EraseBody,
    GrantBody,
    Login,
    Reason,
    State,
)
from instagram_identity_client.types import Response


def show(route: str, answer: Response[Any]) -> None:
    """Print the status, and the class of what the body was read as."""
    print(route, answer.status_code.value, type(answer.parsed).__name__)


def operate(client: AuthenticatedClient, account: str, token: str, user: str) -> None:
    """Connect an account, and have its user fetched."""
    body = ConnectionBody(location_id="loc_1", access_token=token, login=Login.FACEBOOK)
    show("putConnection", put_connection.sync_detailed(account, client=client, body=body))
    again = put_connection.sync_detailed(account, client=client, body=body, if_none_match="*")
    show("putConnection", again)
    change = ConnectionChange(location_id="loc_1")
    show("changeConnection", change_connection.sync_detailed(account, client=client, body=change))
    show("listConnections", list_connections.sync_detailed(client=client))
    wrote = AnnouncementBody([AnnouncedParticipant(ig_account_id=account, ig_user_id=user)])
    show("announceParticipants", announce_participants.sync_detailed(client=client, body=wrote))
    show("refreshUser", refresh_user.sync_detailed(user, client=client))
    backfill = backfill_messages.sync_detailed(client=client, location_id="loc_1", days=7)
    show("backfillMessages", backfill)
    people = list_people.sync_detailed(client=client, state=State.RESOLVED, named=True, limit=10)
    show("listPeople", people)
    none = list_people.sync_detailed(client=client, reason=Reason.CONSENT_REQUIRED)
    show("listPeople", none)
    show("getStatus", get_status.sync_detailed(client=client))
    show("liftPause", lift_pause.sync_detailed(f"account:{account}", client=client))
    show("getConsoleContext", get_console_context.sync_detailed(client=client))


def look(client: AuthenticatedClient, user: str) -> None:
    """Look a user up, as an inbox does."""
    show("getUser", get_user.sync_detailed(user, client=client))
    show("getUsers", get_users.sync_detailed(client=client, ids=[user, "1", user]))
    grant = make_grant.sync_detailed(client=client, body=GrantBody(expires_in=60))
    show("makeGrant", grant)
    show("getPicture", get_picture.sync_detailed(user, client=client))


def visit(client: Client, verify_token: str, app_secret: str) -> None:
    """Ask for what needs no key."""
    hub = {"hub_verify_token": verify_token, "hub_challenge": "1158201444"}
    show("verifyWebhook", verify_webhook.sync_detailed(client=client, **hub))
    body = Delivery(object_="instagram", entry=[])
    sent = json.dumps(body.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()
    signature = "sha256=" + hmac.digest(app_secret.encode(), sent, "sha256").hex()
    delivered = receive_webhook.sync_detailed(
        client=client, body=body, x_hub_signature_256=signature
    )
    show("receiveWebhook", delivered)
    show("getLiveness", get_liveness.sync_detailed(client=client))
    show("getReadiness", get_readiness.sync_detailed(client=client))
    show("getMetrics", get_metrics.sync_detailed(client=client))
    show("getOpenApi", get_open_api.sync_detailed(client=client))
    show("showDocs", show_docs.sync_detailed(client=client))
    show("showConsole", show_console.sync_detailed(client=client))
    show("redirectToConsole", redirect_to_console.sync_detailed(client=client))
    show("getStaticFile", get_static_file.sync_detailed("docs/docs.css", client=client))


def erase(client: AuthenticatedClient, account: str, user: str) -> None:
    """Leave nothing behind."""
    show("eraseUser", erase_user.sync_detailed(user, client=client))
    show("eraseUsers", erase_users.sync_detailed(client=client, body=EraseBody([user, "1"])))
    show("deleteConnection", delete_connection.sync_detailed(account, client=client))
    show("deleteConnection", delete_connection.sync_detailed(account, client=client))


def main(url: str, key: str, verify: str, secret: str, account: str, token: str, user: str) -> None:
    """Call the service at this address."""
    with AuthenticatedClient(base_url=url, token=key) as client:
        operate(client, account, token, user)
        look(client, user)
        erase(client, account, user)
    with Client(base_url=url) as client:
        visit(client, verify, secret)


if __name__ == "__main__":
    main(*sys.argv[1:])
