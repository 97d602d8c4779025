"""Which addresses are public, and what counts as an address of the web."""

from __future__ import annotations

import pytest

from echoreel_index.addresses import Reach, is_public, web_address
from echoreel_index.entries import is_search


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1", "nonsense", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    assert not Reach().allows("example.org", address)
    assert Reach(private=True).allows("example.org", address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)
    assert Reach().refusal("example.org", address) is None


def test_a_host_that_was_named_may_be_private() -> None:
    reach = Reach(hosts=("NAS.lan", "[::1]", "10.0.0.2"))
    assert reach.allows("nas.lan.", "192.168.1.7") and reach.allows("::1", "::1") and reach.allows("10.0.0.2", "10.0.0.2")
    assert not reach.allows("router.lan", "192.168.1.1")
    assert not reach.allows("other.lan", "10.0.0.2"), "a name that leads to the same address is another name"
    assert (reach.refusal("router.lan", "192.168.1.1") or "").startswith("router.lan (192.168.1.1) is no public address")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "FILE:/etc/passwd", "ftp://example.org/a.mp4", "data:video/mp4;base64,AA", "javascript:alert(1)", "rtmp://e.org/x",
        "example.org/a.mp4", "/etc/passwd", "", "http://", "https:///a", "http://[::1", "http://e.org:99999/", "peertube:e.org:1",
    ],
)  # fmt: skip
def test_what_is_no_web_address(url: str) -> None:
    assert web_address(url) and not is_search(url)


def test_web_addresses_and_searches() -> None:
    for url in ("http://e.org", "HTTPS://e.org/a?b#c", "https://user:word@e.org:8080/ä"):
        assert web_address(url) is None
    assert is_search("ytsearch5:a backflip") and is_search("ytsearchall:x") and is_search("scsearch:x")
    for text in ("ytsearch5:", "search://e.org", "http://search.org", "file:search", "ytsearch 5:x"):
        assert not is_search(text)
