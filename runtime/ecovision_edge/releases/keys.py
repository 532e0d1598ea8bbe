"""The publisher's private keys: files in folders, of which those that matter most lie in a drawer.

Keys of `root` and `targets` are offline: encrypted, in `offline/`, on a stick. Those of `snapshot` and
`timestamp` are online: they say no more than that what the others signed is still the newest, and lie in
`online/` on the machine that says so every day.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.exceptions import KeyMismatchError
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from ecovision_edge.base.files import is_file, read_regular_file, sync_folder
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import SigningKeyError
from ecovision_edge.releases.pkcs8 import encrypted_pem, is_encrypted

__all__ = ["OFFLINE", "ONLINE", "ROLES", "KeyStore", "Passphrases", "short_id"]

OFFLINE, ONLINE = ("root", "targets"), ("snapshot", "timestamp")
ROLES = (*OFFLINE, *ONLINE)
MIN_PASSPHRASE = 10
"""Characters. At some 50 ms a guess, ten random letters are out of reach; a word with a digit is not."""
_MAX_PEM = 100_000  # bytes
_ID_SHOWN = 12
_TRIES = 3


def short_id(keyid: str) -> str:
    """Return the part of a key's id that stands in its file's name, and in messages."""
    return keyid[:_ID_SHOWN]


class Passphrases:
    """Where passphrases come from: those that were given, then a person.

    Args:
        given: From a file or the environment; each is tried.
        ask: Ask a person for one: what it is for, and whether it is a new one, to be typed twice. None where
            nobody can be asked.
    """

    def __init__(self, given: Sequence[str] = (), ask: Callable[[str, bool], str] | None = None) -> None:
        self._known, self._ask = list(given), ask
        self._new: str | None = given[0] if given else None

    def new(self) -> str:
        """Return the passphrase for new keys; it is asked for once.

        Raises:
            SigningKeyError: it is too short, or nobody can be asked.
        """
        if self._new is None:
            if self._ask is None:
                raise _no_passphrase("new keys")
            self._new = self._ask("a new passphrase for the offline keys", True)
            self._known.append(self._new)
        if len(self._new) < MIN_PASSPHRASE:
            raise SigningKeyError(
                "the passphrase",
                expected=f"at least {MIN_PASSPHRASE} characters; five random words are better",
                found=f"{len(self._new)} characters",
            )
        return self._new

    def candidates(self, what: str) -> Iterator[str]:
        """Yield passphrases to try; the first three tries of a person come last.

        Raises:
            SigningKeyError: nobody can be asked.
        """
        yield from tuple(self._known)
        if self._ask is None:
            raise _no_passphrase(what)
        for _ in range(_TRIES):
            answer = self._ask(f"the passphrase of {what}", False)
            yield answer

    def remember(self, passphrase: str) -> None:
        """Try this one for the next key too."""
        if passphrase not in self._known:
            self._known.append(passphrase)


def _no_passphrase(what: str) -> SigningKeyError:
    return SigningKeyError(
        f"no passphrase fits {what}",
        fix="give --passphrase-file, set ECOVISION_EDGE_PASSPHRASE, or run it on a terminal",
    )


class KeyStore:
    """The folders in which private keys are looked for, each with its `offline/` and `online/`.

    Args:
        folders: The folders; new offline keys go into the first, a stick, and online ones into the last, that
            of this machine.
        passphrases: What opens those that are encrypted; None does without these keys.
    """

    def __init__(self, folders: Sequence[Path], passphrases: Passphrases | None = None) -> None:
        self._folders, self._passphrases = tuple(folders), passphrases
        self._signers: dict[str, CryptoSigner] = {}

    def files(self) -> Iterator[Path]:
        """Yield the files of all private keys that are here."""
        yield from self._all("*-*.pem")

    def pins(self) -> Iterator[tuple[int, Path]]:
        """Yield the copies of roots that lie with the keys, each with its version."""
        for path in self._all("*.root.json"):
            version = path.name.partition(".")[0]
            if version.isdecimal():
                yield int(version), path

    def path_of(self, keyid: str) -> Path | None:
        """Return the file of a private key; None if it is not here."""
        return next(self._all(f"*-{short_id(keyid)}.pem"), None)

    def signer(self, key: Key) -> CryptoSigner | None:
        """Open the private key that belongs to a public one; None if it is not here, or to be left alone.

        Raises:
            SigningKeyError: it cannot be read, no passphrase opens it, or it is another key.
        """
        if key.keyid not in self._signers:
            path = self.path_of(key.keyid)
            if path is None or not isinstance(key, SSlibKey):
                return None
            opened = self._open(path, key)
            if opened is None:
                return None
            self._signers[key.keyid] = opened
        return self._signers[key.keyid]

    def create(self, role: str, beside: Iterable[str] = ()) -> CryptoSigner:
        """Make a new key for a role, and write its file.

        Args:
            role: One of `ROLES`.
            beside: Ids of the role's other keys: where one of them is, the new one goes.

        Raises:
            SigningKeyError: it cannot be written, or there is no passphrase for it.
        """
        signer = CryptoSigner.generate_ed25519()
        keyid = signer.public_key.keyid
        pem = signer.private_bytes
        if role in OFFLINE:
            plain = load_pem_private_key(pem, None).private_bytes(
                Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
            )
            pem = encrypted_pem(plain, (self._passphrases or Passphrases()).new())
        there = next((path for other in beside if (path := self.path_of(other)) is not None), None)
        if there is not None:
            folder = there.parent
        elif role in OFFLINE:
            folder = self._folders[0] / "offline"
        else:
            folder = self._folders[-1] / "online"
        path = folder / f"{role}-{short_id(keyid)}.pem"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(pem)
                stream.flush()
                os.fsync(stream.fileno())
            sync_folder(folder, if_possible=True)
        except OSError as e:
            raise SigningKeyError(f"cannot write the key {path}", found=reason_of(e)) from e
        self._signers[keyid] = signer
        return signer

    def _all(self, pattern: str) -> Iterator[Path]:
        for folder in self._folders:
            for place in (folder, folder / "offline", folder / "online"):
                try:
                    yield from sorted(path for path in place.glob(pattern) if is_file(path))
                except OSError as e:
                    raise SigningKeyError(f"cannot look for keys in {place}", found=reason_of(e)) from e

    def _open(self, path: Path, key: SSlibKey) -> CryptoSigner | None:
        try:
            pem = read_regular_file(path, _MAX_PEM)
        except OSError as e:
            raise SigningKeyError(f"cannot read the key {path}", found=reason_of(e)) from e
        if not is_encrypted(pem):
            return _signer(path, pem, None, key)
        if self._passphrases is None:
            return None
        for passphrase in self._passphrases.candidates(path.name):
            try:
                made = _signer(path, pem, passphrase, key)
            except ValueError:  # so says `cryptography` of a wrong one
                continue
            self._passphrases.remember(passphrase)
            return made
        raise SigningKeyError(f"no passphrase fits the key {path}", fix="run it again")


def _signer(path: Path, pem: bytes, passphrase: str | None, key: SSlibKey) -> CryptoSigner:
    """Return the signer.

    Raises:
        ValueError: the passphrase is wrong.
        SigningKeyError: it is no private key, or another one.
    """
    try:
        private = load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        if passphrase is not None and isinstance(e, ValueError):
            raise
        raise SigningKeyError(f"{path} is no private key", found=reason_of(e)) from e
    try:
        return CryptoSigner(private, key)
    except (ValueError, KeyMismatchError) as e:
        raise SigningKeyError(
            f"the key {path}", expected=f"the one with the id {short_id(key.keyid)}", found="another key"
        ) from e
