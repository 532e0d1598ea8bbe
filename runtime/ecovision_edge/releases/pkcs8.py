"""Private keys as encrypted PEM files (PKCS #8) whose passphrase is costly to guess.

`cryptography` writes such files too, with 2048 rounds of PBKDF2, of which a graphics card does millions of
passphrases a second. Here it is scrypt, as RFC 7914 has it; OpenSSL and `cryptography` read such files.
"""

from __future__ import annotations

import hashlib
import os
from base64 import encodebytes

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

__all__ = ["encrypted_pem", "is_encrypted"]

_LABEL = b"ENCRYPTED PRIVATE KEY"
_N, _R, _P = 2**14, 8, 5
"""Cost of scrypt, one of the sets that OWASP's cheat sheet on storing passwords names. It takes 16 MiB:
OpenSSL refuses more than 32 MiB."""

_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_PBES2 = bytes.fromhex("06092a864886f70d01050d")  # 1.2.840.113549.1.5.13
_SCRYPT = bytes.fromhex("06092b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES_256_CBC = bytes.fromhex("060960864801650304012a")  # 2.16.840.1.101.3.4.1.42


def is_encrypted(pem: bytes) -> bool:
    """Return whether a private key wants a passphrase."""
    return _LABEL in pem


def encrypted_pem(private_key: bytes, passphrase: str) -> bytes:
    """Encrypt a private key.

    Args:
        private_key: PKCS #8 in DER, as it is.
        passphrase: Any text; its UTF-8 counts.
    """
    salt, start = os.urandom(16), os.urandom(16)
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=_N, r=_R, p=_P, dklen=32)
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    secret = encryptor.update(padder.update(private_key) + padder.finalize()) + encryptor.finalize()
    cost = b"".join(_integer(number) for number in (_N, _R, _P))
    derivation = _der(_SEQUENCE, _SCRYPT, _der(_SEQUENCE, _der(_OCTETS, salt), cost))
    cipher = _der(_SEQUENCE, _AES_256_CBC, _der(_OCTETS, start))
    algorithm = _der(_SEQUENCE, _PBES2, _der(_SEQUENCE, derivation, cipher))
    body = encodebytes(_der(_SEQUENCE, algorithm, _der(_OCTETS, secret)))
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (_LABEL, body, _LABEL)


def _integer(number: int) -> bytes:
    return _der(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _der(tag: int, *parts: bytes) -> bytes:
    """Join parts to one value of ASN.1 by its distinguished encoding rules (X.690)."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
