"""Facts about Digest authentication: the examples of the standards, and what cameras offer."""

import secrets

import pytest

from ecovision_edge.camera.digest import digest_answer

MUFASA = ("Mufasa", "Circle of Life")
# RFC 7616, 3.9.1.
OFFERED = (
    'realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
CLIENT = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
BY_MD5 = "8ca523f5e9506fed4657c9700eebdbec"
BY_SHA256 = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"


@pytest.fixture
def client(monkeypatch):
    """The number that is used once is the one of the example."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: CLIENT)


@pytest.mark.parametrize(
    ("algorithms", "response"),
    [
        (["MD5"], BY_MD5),
        (["SHA-256"], BY_SHA256),
        (["MD5", "SHA-256"], BY_SHA256),
        (["SHA-256", "MD5"], BY_SHA256),
        (["unheard-of", "MD5"], BY_MD5),
    ],
)
def test_the_best_of_what_is_offered_is_answered(client, algorithms, response):
    """In whatever order."""
    answer = digest_answer([OFFERED.format(a) for a in algorithms], MUFASA, "/dir/index.html")
    assert answer is not None
    assert f'response="{response}"' in answer
    assert 'qop=auth, nc=00000001, cnonce="' in answer
    assert "Circle" not in answer


def test_a_camera_of_the_older_standard_is_answered():
    """RFC 2069: no algorithm, and no number of the client's (with the response of its erratum 749)."""
    offered = 'realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc"'
    answer = digest_answer([offered], ("Mufasa", "CircleOfLife"), "/dir/index.html")
    assert answer is not None
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in answer
    assert "cnonce" not in answer
    assert "qop" not in answer


def test_a_session_has_a_secret_of_its_own(client):
    """`-sess`: another response than without."""
    answer = digest_answer([OFFERED.format("MD5-sess")], MUFASA, "/dir/index.html")
    assert answer is not None
    assert "algorithm=MD5-sess" in answer
    assert BY_MD5 not in answer


@pytest.mark.parametrize(
    "offered", ["", "realm", "realm=, nonce=", 'realm="a"', 'realm="a", nonce="b", qop="auth-int"']
)
def test_what_cannot_be_answered_is_not(offered):
    """A malformed challenge is no error either."""
    assert digest_answer([offered], MUFASA, "/") is None


def test_names_are_quoted():
    """A quotation mark in one ends nothing."""
    answer = digest_answer(['realm="a", nonce="b"'], ('o"neil', "x"), "/")
    assert answer is not None
    assert answer.startswith('username="o\\"neil", realm="a"')
