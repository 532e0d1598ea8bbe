"""Facts about a publisher's keys: what is in their files, and where passphrases come from."""

import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from tests.runtime.publishers import PASSPHRASE, cheap_passphrases

from ecovision_edge.errors import SigningKeyError
from ecovision_edge.releases import pkcs8
from ecovision_edge.releases.keys import KeyStore, Passphrases


def private_key():
    return Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("size", [0, 1, 60, 200, 70_000])
def test_any_key_of_any_length_comes_back(monkeypatch, size):
    """By `cryptography`, which reads ASN.1 strictly; a longer one has longer lengths in it."""
    monkeypatch.setattr(pkcs8, "_N", 2)
    pem = pkcs8.encrypted_pem(bytes(size) or private_key(), "é" * 40)
    assert pkcs8.is_encrypted(pem)
    if size == 0:
        assert load_pem_private_key(pem, ("é" * 40).encode())
    with pytest.raises(ValueError, match=r"."):
        load_pem_private_key(pem, b"another one")


@pytest.mark.slow
def test_openssl_opens_a_key_at_its_whole_cost():
    """Whoever has the file and the passphrase needs nothing of ours."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl: apt-get install openssl")
    key = private_key()
    ran = subprocess.run(
        [openssl, "pkey", "-passin", f"pass:{PASSPHRASE}", "-outform", "DER"],
        input=pkcs8.encrypted_pem(key, PASSPHRASE),
        capture_output=True,
        check=True,
    )
    assert ran.stdout == key


@pytest.mark.usefixtures(cheap_passphrases.__name__)
class TestPassphrases:
    """What opens a key, and what is asked of whom."""

    @pytest.fixture
    def key(self, tmp_path):
        """The public half of a targets key whose file is in `tmp_path`."""
        return KeyStore([tmp_path], Passphrases([PASSPHRASE])).create("targets").public_key

    def test_each_that_is_given_is_tried_then_a_person_is_asked(self, tmp_path, key):
        """Who is told which file it is for; what fits is kept for the next key."""
        asked = []
        answers = iter(["wrong", PASSPHRASE])
        passphrases = Passphrases(
            ["other", "another"], lambda what, new: asked.append((what, new)) or next(answers)
        )
        assert KeyStore([tmp_path], passphrases).signer(key).public_key == key
        assert asked == [(f"the passphrase of targets-{key.keyid[:12]}.pem", False)] * 2
        assert KeyStore([tmp_path], passphrases).signer(key)

    def test_three_wrong_ones_are_enough(self, tmp_path, key):
        """Then the command ends."""
        store = KeyStore([tmp_path], Passphrases(ask=lambda *_: "wrong"))
        with pytest.raises(SigningKeyError, match="no passphrase fits the key"):
            store.signer(key)

    def test_where_nobody_can_be_asked_the_ways_are_told(self, tmp_path, key):
        """A file, the environment, a terminal."""
        with pytest.raises(SigningKeyError, match="--passphrase-file, set ECOVISION_EDGE_PASSPHRASE, or"):
            KeyStore([tmp_path], Passphrases()).signer(key)

    def test_without_passphrases_an_encrypted_key_is_left_alone(self, tmp_path, key):
        """`refresh` runs by cron, and must not wait for anybody."""
        assert KeyStore([tmp_path]).signer(key) is None
        online = KeyStore([tmp_path]).create("snapshot").public_key
        assert KeyStore([tmp_path]).signer(online)

    def test_a_new_one_is_asked_for_once_and_has_to_be_long(self, tmp_path):
        """For all keys of one command."""
        asked = []
        store = KeyStore([tmp_path], Passphrases(ask=lambda *a: asked.append(a) or PASSPHRASE))
        keys = [store.create(role).public_key for role in ("root", "root", "targets", "timestamp")]
        assert asked == [("a new passphrase for the offline keys", True)]
        assert all(store.path_of(key.keyid) for key in keys)
        with pytest.raises(SigningKeyError, match="at least 10 characters"):
            KeyStore([tmp_path], Passphrases(["short"])).create("root")

    def test_a_new_key_goes_where_the_others_of_its_role_are(self, tmp_path):
        """An online key onto the server, although a stick is named first."""
        server = KeyStore([tmp_path / "server"])
        old = server.create("timestamp").public_key
        both = KeyStore([tmp_path / "stick", tmp_path / "server"], Passphrases([PASSPHRASE]))
        new = both.create("timestamp", [old.keyid]).public_key
        assert both.path_of(new.keyid).parent == tmp_path / "server/online"
        for role, folder in (("root", "stick/offline"), ("snapshot", "server/online")):
            made = both.create(role).public_key.keyid
            assert both.path_of(made).parent == tmp_path / folder
