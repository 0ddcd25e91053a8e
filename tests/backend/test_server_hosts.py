"""By which names the server may be called: what a hostile web page could reach otherwise."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextraj_backend.server.auth import HostRule, is_loopback


@given(st.text(max_size=30))
def test_no_made_up_host_is_ever_taken_for_this_machine(text: str) -> None:
    name = text.lower().rpartition(":")[0] or text.lower()
    if name not in ("localhost", "127.0.0.1", "[::1]", "[::1"):
        assert not HostRule("127.0.0.1").allows(f"{text}.example")


@pytest.mark.parametrize(
    "authority", ["a@127.0.0.1", "127.0.0.1/evil", "127.0.0.1#x", "127.0.0.1?x", "127.0.0.1\\x", "[::1", " "]
)
def test_a_crooked_host_is_refused(authority: str) -> None:
    assert not HostRule("127.0.0.1").allows(authority)


def test_a_server_opened_to_the_network_takes_addresses_and_its_own_name_only() -> None:
    rule = HostRule("0.0.0.0")
    assert rule.allows("192.168.1.5:8000")
    assert rule.allows("[fe80::1]:8000")
    assert rule.allows(socket.gethostname())
    assert not rule.allows("evil.example")
    assert not HostRule("127.0.0.1").allows("192.168.1.5")


def test_what_counts_as_this_machine_only() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "127.5.5.5")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "example.org")))
