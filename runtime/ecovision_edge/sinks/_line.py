"""The line protocol of the serial sink: pure, no port, no clock.

One line is `MARK NUMBER : KIND ARGUMENTS * CRC newline`, in ASCII, without the spaces::

    >0007:EVENT paper cardboard 873*xxxx      to the receiver
    <0007:ACK EVENT*xxxx                      from it

NUMBER and CRC are four upper-case hexadecimal digits; the CRC is of all from the mark up to the `*`.
Arguments are separated by one space each and hold no mark, colon, star, space or control character: text is
percent-encoded. So a line can begin only at its mark, whatever stands before it, and the `:` right after
four digits stands in it only once: no byte changed into a mark makes a line of a line's end.

To the receiver:

- `HELLO VERSION SESSION LAST`: on each connection. SESSION is eight digits that each start of the sender
  draws again; LAST is the number of the last event that was acknowledged to it, or `-`.
- `EVENT BIN LABEL PERMILLE`: act. LABEL is `-` for an unknown item.
- `STATE STATE`: what the bin is doing, each second at least; `-` before anything is known.

From it: `ACK KIND`, for HELLO with `VERSION LAST`; or `NAK KIND REASON`, the reason one of `bin` (it has no
such bin), `busy` (ask again), `fault` (the state is fault), `form` (wrong arguments), `hello` (it has just
started: say hello first) and `version`. Numbers and kinds come back as they were sent. It says nothing to
what is no line.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinEvent

__all__ = [
    "LINE_VERSION",
    "MAX_LINE",
    "Line",
    "LineReader",
    "Mark",
    "crc16",
    "decode_line",
    "encode_line",
    "encode_word",
    "event_words",
]

LINE_VERSION = 1
MAX_LINE = 127
"""Bytes of a line, newline included: what fits the buffer of a small receiver."""

Mark = Literal[">", "<"]
"""Who speaks: `>` the sender of events, `<` their receiver."""

_MOST_BIN, _MOST_LABEL = 63, 31
_FORM = re.compile(rb"([><])([0-9A-F]{4}):([A-Z]{1,7})((?: [!-)+-9;=?-~]+){0,4})\*([0-9A-F]{4})\r?\n")


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Args:
        mark: Who speaks.
        number: 0 to 65535.
        kind: 1 to 7 letters A to Z.
        words: The arguments, at most 4: of printable ASCII, without space and `><:*`, not empty.
    """

    mark: Mark
    number: int
    kind: str
    words: tuple[str, ...] = ()


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF, not reflected; 0x29B1 of `123456789`.

    Source: G. Cook, "Catalogue of parametrised CRC algorithms", where it is CRC-16/IBM-3740. It finds each
    error that lies within 16 bits in a row, so each wrong byte.
    """
    return binascii.crc_hqx(data, 0xFFFF)


def encode_line(line: Line) -> bytes:
    """Return the bytes of a line, newline included.

    Raises:
        OptionError: it is no line that `decode_line` gives back, or one of more than `MAX_LINE` bytes.
    """
    head = f"{line.mark}{line.number:04X}:{' '.join((line.kind, *line.words))}".encode()
    data = b"%s*%04X\n" % (head, crc16(head))
    if decode_line(data) != line:
        raise OptionError(
            "line", expected=f"words of ASCII, {MAX_LINE} bytes at most", found=f"{len(data)} bytes, {data!r}"
        )
    return data


def decode_line(data: bytes) -> Line | None:
    """Return the line that these bytes are, from its mark to its newline; None if they are no line."""
    match = _FORM.fullmatch(data) if len(data) <= MAX_LINE else None
    if match is None or crc16(data[: match.start(5) - 1]) != int(match[5], 16):
        return None
    words = match[4].decode().split()
    return Line(">" if match[1] == b">" else "<", int(match[2], 16), match[3].decode(), tuple(words))


class LineReader:
    """Finds the lines of one speaker in a stream of bytes; all else is passed over.

    Args:
        mark: Whose lines.
    """

    def __init__(self, mark: Mark) -> None:
        self._mark = ord(mark)
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Line]:
        """Take bytes; the lines that end in them."""
        lines = []
        for byte in data:
            if byte == self._mark:
                self._held[:] = (byte,)
            elif self._held:
                self._held.append(byte)
                if byte == ord("\n"):
                    line = decode_line(bytes(self._held))
                    self._held.clear()
                    if line is not None:
                        lines.append(line)
                elif len(self._held) >= MAX_LINE:
                    self._held.clear()
        return lines


def encode_word(text: str | None) -> str:
    """Return any text as an argument, no two alike: percent-encoded UTF-8; None is `-`, and `-` is `%2D`."""
    if text is None:
        return "-"
    if text in ("", "-"):
        return "%2D" if text else "%"
    return quote(text, safe="", errors="surrogatepass")


def event_words(event: BinEvent) -> tuple[str, str, str]:
    """Return the arguments of an EVENT: bin, label, per mille.

    The label is for show, and is cut if it is long; a bin's name never is, since two might become one.

    Raises:
        OptionError: the bin's name is longer than 63 bytes, percent-encoded.
    """
    name, label = encode_word(event.bin), encode_word(event.label)
    if len(name) > _MOST_BIN:
        raise OptionError(
            f"bin {event.bin} on a serial line",
            expected=f"a name of {_MOST_BIN} bytes at most, where a letter beyond ASCII takes 6 to 12",
            found=len(name),
            fix="give it a shorter name, or one in ASCII",
        )
    if len(label) > _MOST_LABEL:
        label = re.sub(r"%.?$", "", label[:_MOST_LABEL])  # no half of an encoded byte
    return name, label, str(round(1000 * min(max(event.probability, 0.0), 1.0)))
