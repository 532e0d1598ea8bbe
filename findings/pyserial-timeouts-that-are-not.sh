#!/usr/bin/env bash
# pyserial: readline() waits timeout for each byte, where read_until() waits it for all; and a write that timed out has
# been sent in part, nobody knows how much.
#
# Ground: a port (a pseudo-terminal) with timeout 1 s whose other side sends a byte every 0.2 s and no newline, as a
# board with the wrong baud rate or a chattering line does; then 102,400 bytes to a side that does not read.
# Guess before running: readline() returns what it has after 1 s, as read(100) and read_until() do, of which it is the
# special case; a write that raises SerialTimeoutException has sent nothing, or says how much.
# Seen (pyserial 3.5, Python 3.11, Linux):
#   read(100) and read_until(): back after 1 s with 4 or 5 bytes
#   readline(): back a second after the other side had stopped, with all 15 bytes; no bound while it goes on
#   write() of 102,400 bytes: SerialTimeoutException("Write timeout"), without a count; the first 11,776 bytes had been
#     sent, another time 15,360: sending again puts a whole message behind a torn one
# So the loop that reads lines, checks whether it is to stop, and reads again, does not stop.
# What to do: read_until(b"\n") with a size, or read(in_waiting or 1) and split into lines oneself; after a write
# timeout send a delimiter first, and have a checksum in the protocol, so that the receiver drops the torn message.
#
# usage: bash findings/pyserial-timeouts-that-are-not.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyserial==3.5
venv/bin/python - <<'PYTHON'
import os
import pty
import sys
import threading
import time
import tty

import serial

print("pyserial", serial.__version__, "Python", sys.version.split()[0])
far, near = pty.openpty()
tty.setraw(far)
port = serial.Serial(os.ttyname(near), timeout=1, write_timeout=0.3)


def drip():
    """Send 15 bytes in 3 seconds."""
    for _ in range(15):
        time.sleep(0.2)
        os.write(far, b"x")


found = {}
for name, read in (("read(100)", lambda: port.read(100)), ("read_until()", port.read_until),
                   ("readline()", port.readline)):
    other = threading.Thread(target=drip)
    start = time.monotonic()
    other.start()
    found[name] = read()
    print(f"{name}: {len(found[name])} bytes after {time.monotonic() - start:.1f} s")
    other.join()
    time.sleep(0.2)
    port.reset_input_buffer()
so = len(found["read(100)"]) < 10 and len(found["read_until()"]) < 10 and len(found["readline()"]) == 15

message = bytes(range(256)) * 400
os.set_blocking(far, False)


def drain():
    got = bytearray()
    while True:
        try:
            got += os.read(far, 65536)
        except BlockingIOError:
            return bytes(got)


try:
    port.write(message)
    told = None
except serial.SerialTimeoutException as error:
    told = error
got = drain()
print(f"write of {len(message)} bytes: {told!r}, {vars(told)}; {len(got)} bytes arrived, the beginning: "
      f"{message.startswith(got)}")
so &= told is not None and not vars(told) and 0 < len(got) < len(message) and message.startswith(got)
print("still so: neither timeout is one" if so else "changed")
sys.exit(not so)
PYTHON
