import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from service.identities.pictures.addresses import PictureHosts, is_public, redirected

META_HOSTS = ("cdninstagram.com", "fbcdn.net", "fbsbx.com")
META = PictureHosts(META_HOSTS)


@pytest.mark.parametrize("host", [*META_HOSTS, *(f"a-1.xx.{host}" for host in META_HOSTS)])
def test_metas_hosts_and_their_subdomains_are_allowed(host: str) -> None:
    assert META.allows(f"https://{host}/v/t51.2885-19/1_n.jpg?stp=a&oe=6A000000")
    assert META.allows(f"HTTPS://{host.upper()}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://scontent.cdninstagram.com/p.jpg",
        "https://example.com/p.jpg",
        "https://cdninstagram.com.example.com/p.jpg",
        "https://notcdninstagram.com/p.jpg",
        "https://example.com/cdninstagram.com/p.jpg",
        "https://example.com#.fbcdn.net/",
        "https://example.com?.fbcdn.net/",
        "https://example.com\\.fbcdn.net/p.jpg",
        "https://example.com\\@fbcdn.net/p.jpg",
        "https://fbcdn.net@example.com/p.jpg",
        "https://user@fbcdn.net/p.jpg",
        "https://fbcdn.net:8443/p.jpg",
        "https://fbcdn.net./p.jpg",
        "https://fbcdn.net",
        "https://fbcdn.net/p.jpg\r\nSet-Cookie: a=b",
        "https://fbcdn.net/p.jpg\n",
        "https://fbcdn.net/\tp.jpg",
        " https://fbcdn.net/p.jpg",
        "https:fbcdn.net/p.jpg",
        "//fbcdn.net/p.jpg",
        "javascript:alert(1)//fbcdn.net/",
        "data:image/png;base64,",
        "file:///etc/passwd",
        "https://fbcdn\u3002net/p.jpg",
        "https://\uff46bcdn.net/p.jpg",
        "https://fbcdn.net/" + "p" * 5000,
        "https://127.0.0.1/p.jpg",
        "https://[::1]/p.jpg",
        "https://2130706433/p.jpg",
        "",
    ],
)
def test_other_addresses_are_not_allowed(url: str) -> None:
    assert not META.allows(url)


@given(st.text(max_size=20), st.sampled_from(META_HOSTS), st.text(max_size=20))
@example("evil.example/", "fbcdn.net", "")
@example("x@", "fbcdn.net", "")
@example("", "fbcdn.net", "@evil.example/")
@example("", "fbcdn.net", ".evil.example/")
def test_an_allowed_address_leads_to_meta(before: str, host: str, after: str) -> None:
    url = f"https://{before}{host}{after}"
    if META.allows(url):
        parsed = URL(url, encoded=True)
        assert (parsed.scheme, parsed.user, parsed.port) == ("https", None, 443)
        assert any(f".{parsed.host}".endswith(f".{meta}") for meta in META_HOSTS)
        assert url.isascii()
        assert url.isprintable()


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "127.0.0.1"])
def test_an_ip_address_is_no_domain_even_if_it_is_listed(address: str) -> None:
    assert not PictureHosts([address, "fbcdn.net"]).allows(f"https://{address}/p.jpg")


@pytest.mark.parametrize("origin", ["http://127.0.0.1:9000", "http://[::1]:9000", "https://p.test"])
def test_a_whole_origin_allows_exactly_that_one(origin: str) -> None:
    hosts = PictureHosts([origin])
    assert hosts.allows(f"{origin}/p.jpg")
    assert hosts.is_named_origin(f"{origin}/p.jpg")
    for other in (f"{origin}1/p.jpg", origin, f"{origin}@example.com/", "http://127.0.0.1/p.jpg"):
        assert not hosts.allows(other)
    assert not hosts.allows("http://127.0.0.1:9001/p.jpg")
    assert not hosts.allows("https://sub.p.test/p.jpg")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2a03:2880::1", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - judged, never bound
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("192.0.0.1", False),
        ("198.18.0.1", False),
        ("::1", False),
        ("::", False),
        ("::10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("2002:a00:1::1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_only_public_addresses_are_public(address: str, expected: bool) -> None:  # noqa: FBT001
    assert is_public(address) is expected


def test_a_redirect_is_read_against_the_address_it_came_from() -> None:
    url = "https://fbcdn.net/a/b.jpg?oe=1"
    assert redirected(url, "/c.jpg") == "https://fbcdn.net/c.jpg"
    assert redirected(url, "https://example.com/%7e") == "https://example.com/%7e"
    assert redirected(url, "//example.com/d") == "https://example.com/d"
    assert not META.allows(redirected(url, "http://fbcdn.net/plain"))
