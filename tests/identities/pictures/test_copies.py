from unittest.mock import Mock

import structlog.testing

from service.identities.pictures.addresses import PictureHosts
from service.identities.pictures.copies import Pictures


async def test_a_host_that_meta_moved_to_is_named_and_counted() -> None:
    """No copy is queued; the alert about pictures counts it as failed."""
    outcomes: list[str] = []
    fetcher = Mock(hosts=PictureHosts(["cdninstagram.com"]))
    pictures = Pictures(fetcher, Mock(), outcomes.append)
    with structlog.testing.capture_logs() as lines:
        pictures.offer("1254459154682919", "https://scontent.cdn-of-tomorrow.example/p.jpg?sig=x")
    assert (pictures.waiting, outcomes) == (0, ["failed"])
    assert [(line["log_level"], line["host"]) for line in lines] == [
        ("warning", "scontent.cdn-of-tomorrow.example")
    ]
    assert "sig=x" not in str(lines)
