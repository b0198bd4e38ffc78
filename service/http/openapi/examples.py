"""An example of every body, by the name of its schema; the viewer shows the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, object]

_JANE: Json = {
    "igUserId": "1254459154682919",
    "displayName": "@jane.doe",
    "username": "jane.doe",
    "name": "Jane Doe",
    "profilePicUrl": "https://scontent.cdninstagram.com/v/t51/jane.jpg?oe=6A5F1B80",
    "state": "resolved",
    "stale": False,
    "lastFetchedAt": "2026-11-22T10:00:00Z",
    "failCount": 0,
    "lastFailedAt": None,
    "reason": None,
    "source": "profile",
    "isPlaceholder": False,
    "pictureUrl": "/api/social/instagram/users/1254459154682919/picture?v=3f2a91c0",
}
_STRANGER: Json = {
    "igUserId": "5512340987",
    "displayName": "@user_340987",
    "username": None,
    "name": None,
    "profilePicUrl": None,
    "state": "pending",
    "stale": False,
    "lastFetchedAt": None,
    "failCount": 2,
    "lastFailedAt": "2026-11-22T10:01:00Z",
    "reason": "consent_required",
    "source": None,
    "isPlaceholder": True,
    "pictureUrl": None,
}
_CONNECTION: Json = {
    "igAccountId": "17841400000000001",
    "aliasIds": ["178414000000009"],
    "locationId": "loc_1",
    "login": "facebook",
    "tokenStatus": "active",
    "createdAt": "2026-11-01T08:00:00Z",
    "updatedAt": "2026-11-22T09:30:00Z",
    "pausedUntil": None,
    "pauseReason": None,
    "username": "the.shop",
    "tokenExpiresAt": None,
    "dataAccessExpiresAt": "2027-02-01T00:00:00Z",
    "tokenCheckedAt": "2026-11-22T04:10:00Z",
    "scopes": ["instagram_basic", "instagram_manage_messages"],
    "isPlain": False,
}
_WROTE: Json = {
    "igAccountId": "17841400000000001",
    "locationId": "loc_1",
    "lastMessageAt": "2026-11-22T10:00:00Z",
}
_BACKFILL: Json = {
    "locationId": "loc_1",
    "days": 7,
    "candidates": 180,
    "attempted": 50,
    "resolved": 46,
    "failed": 3,
    "queued": 1,
    "remaining": 130,
    "waiting": 20,
    "stopped": 2,
    "paused": 0,
    "waitingUntil": "2026-11-22T23:13:00Z",
    "askedAt": "2026-11-22T22:13:00Z",
    "results": [
        {
            "igUserId": "1254459154682919",
            "outcome": "resolved",
            "displayName": "@jane.doe",
            "reason": None,
        }
    ],
}
_MESSAGE: Json = {
    "sender": {"id": "1254459154682919"},
    "recipient": {"id": "17841400000000001"},
    "timestamp": 1795341600000,
    "message": {"mid": "aWdfZAG1faXRlbToxOklHTWVzc2FnZA", "text": "Hello"},
}
_WRITERS: Json = {"wrote": 41, "named": 1, "waiting": 0, "nameless": {"not_found": 40}}
_TEXT = (
    "40 of the 41 people who wrote to @shop in the last hour have no name: Meta knows none of them "
    "(code 100/33)."
)
_CAUSE: Json = {
    "level": "attention",
    "text": _TEXT,
    "likely": "The token probably belongs to another account.",
    "cure": "Connect the right one.",
    "command": "python -m service connections add 17841400000000001 --location loc_1",
    "reason": "not_found",
    "igAccountId": "17841400000000001",
    "locationId": "loc_1",
}
_HISTORY: Json = {
    "replica": "9f86d081",
    "startedAt": "2026-11-22T08:00:00Z",
    "minutes": [
        {
            "at": "2026-11-22T09:59:00Z",
            "received": 41,
            "named": 1,
            "calls": 41,
            "failures": {"not_found": 40},
            "depth": 0,
            "oldestSeconds": 0.0,
        }
    ],
}
_STATUS: Json = {
    "verdict": {
        "level": "attention",
        "sentences": [f"{_TEXT} {_CAUSE['likely']} {_CAUSE['cure']}"],
        "causes": [_CAUSE],
    },
    "recent": _WRITERS
    | {
        "accounts": [
            {"igAccountId": "17841400000000001", "username": "shop", "locationId": "loc_1"}
            | _WRITERS
        ]
    },
    "history": _HISTORY,
    "queue": {"depth": 12, "oldestSeconds": 0.8, "inFlight": 4},
    "budget": {"perSecond": 10.0, "waitSeconds": 0.1, "pace": 1.0},
    "pauses": [
        {
            "scope": "account:17841400000000001",
            "until": "2026-11-22T10:10:00Z",
            "reason": "throttled",
            "waiting": 12,
        }
    ],
    "identities": {"resolved": 4210, "pending": 12, "failed": 31},
    "postgres": "ok",
    "intake": {"kind": "postgres"},
    "forwards": None,
    "tokens": {
        "total": 1,
        "warnings": [
            {
                "kind": "data_access_ends",
                "igAccountId": "17841400000000001",
                "locationId": "loc_1",
                "username": "the.shop",
                "sentence": "The app's access to the data of @the.shop (17841400000000001) ends on"
                " 01 December 2026.",
                "advice": "The owner of the account has to log in to the app again: that renews it"
                " for 90 days.",
                "command": None,
                "endsAt": "2026-12-01T00:00:00Z",
                "isUrgent": False,
            }
        ],
    },
}

EXAMPLES: Mapping[str, Mapping[str, Json]] = {
    "Identity": {"resolved": _JANE, "withoutConsent": _STRANGER},
    "Users": {"two": {"users": [_JANE, _STRANGER]}},
    "People": {
        "two": {
            "people": [
                _JANE | {"accounts": [_WROTE], "nextAttemptAt": None},
                _STRANGER | {"accounts": [_WROTE], "nextAttemptAt": "2026-11-22T10:11:00Z"},
            ],
            "next": "1795341600000000-5512340987-17841400000000001",
        }
    },
    "EraseBody": {"two": {"igUserIds": ["1254459154682919", "5512340987"]}},
    "AnnouncementBody": {
        "two": {
            "participants": [
                {"igAccountId": "17841400000000001", "igUserId": "1254459154682919"},
                {
                    "igAccountId": "17841400000000001",
                    "igUserId": "5512340987",
                    "lastMessageAt": "2026-11-22T10:00:00Z",
                    "wrote": False,
                },
            ]
        }
    },
    "Announcement": {
        "one": {
            "accepted": 1,
            "rejected": [{"index": 1, "detail": "igUserId is 1 to 32 digits."}],
        }
    },
    "Erased": {"two": {"erased": 2}},
    "Connection": {"connected": _CONNECTION},
    "Connections": {"one": {"connections": [_CONNECTION]}},
    "ConnectionBody": {
        "page": {"locationId": "loc_1", "accessToken": "EAAG-a-page-access-token"},
        "instagramLogin": {
            "locationId": "loc_1",
            "accessToken": "IGAA-an-instagram-user-token",
            "login": "instagram",
            "aliasIds": ["178414000000009"],
        },
    },
    "Backfill": {"first": _BACKFILL},
    "GrantBody": {"tenMinutes": {"expiresIn": 600}},
    "Grant": {
        "tenMinutes": {
            "grant": "v1.1795342200000.M2Q1ZTZmNzA4MTkyYTNiNGM1ZDZlN2Y4MDkxYTJiM2M",
            "expiresAt": "2026-11-22T10:10:00Z",
        }
    },
    "Delivery": {
        "message": {
            "object": "instagram",
            "entry": [{"id": "17841400000000001", "time": 1795341600000, "messaging": [_MESSAGE]}],
        }
    },
    "Status": {"throttled": _STATUS},
    "ConsoleContext": {
        "usual": {
            "maxFailures": 5,
            "retryWaitsSeconds": [60.0, 600.0, 3600.0, 21600.0],
            "sandbox": False,
        }
    },
    "Alive": {"alive": {"status": "ok"}},
    "Readiness": {
        "ready": {"status": "ready", "postgres": "ok", "intake": {"kind": "postgres"}},
        "draining": {"status": "draining", "postgres": "ok", "intake": {"kind": "postgres"}},
    },
}
