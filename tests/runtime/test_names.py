"""Facts about names and foreign values in messages."""

import pytest

from ecovision_edge.base.hosts import host_and_port
from ecovision_edge.base.names import quoted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "'a b'"),
        ("é\n\x1b", r"'\xe9\n\x1b'"),
        ("\ud800", r"'\ud800'"),
        (float("inf"), "inf"),
        (None, "None"),
        ("x" * 58, f"'{'x' * 58}'"),
        ("x" * 59, f"'{'x' * 56}..."),
    ],
)
def test_a_foreign_value_is_short_and_printable_on_any_terminal(value, text):
    """ASCII, 60 characters, with dots where something was left out."""
    assert quoted(value) == text
    assert len(text) <= 60


def test_a_value_that_python_refuses_to_write_is_its_type():
    """A number of thousands of digits, and lists nested too deep."""
    assert quoted(9**9999) == "a int"
    value = []
    for _ in range(100_000):
        value = [value]
    assert quoted(value) == "a list"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cam", ("cam", None)),
        ("cam.local:80", ("cam.local", 80)),
        ("[::1]:0", ("::1", 0)),
        ("[fe80::1%eth0]", ("fe80::1%eth0", None)),
        ("cam:65535", ("cam", 65535)),
        ("cam:65536", None),
        ("cam:", None),
        ("::1", None),
        ("[1::2::3]:80", None),
        ("[cam]:80", None),
        ("user@cam", None),
        ("a b", None),
        ("", None),
    ],
)
def test_a_host_and_its_port_are_told_apart(text, found):
    """With brackets around an IPv6 address, and no other host."""
    assert host_and_port(text) == found
