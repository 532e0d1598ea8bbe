#!/usr/bin/env bash
# fsspec over HTTP: cat_file(url, start, end) gives the whole file, from its first byte, if the server does not serve
# ranges; open() and seek() of the same file raise.
#
# Ground: a file of 10,240 bytes from Python's http.server, which knows no ranges, as small servers and some proxies do
# not; and from one that does. Asked for bytes 100 to 110, one range or several.
# Guess before running: the ten bytes, cut from what came, or a ValueError, which open() raises at a seek ("The HTTP
# server doesn't appear to support range requests").
# Seen (fsspec 2026.9.0, aiohttp 3.14.5):
#   server with ranges: ten bytes, by every call
#   server without: cat_file(start=100, end=110), cat_file(start=-10) and each part of cat_ranges() give all 10,240
#     bytes: status 200 is taken for 206; no error, no warning
#   open(), seek(100), read(10): ValueError; tail(): ValueError
# A reader of headers, indices or parts of a Parquet file or of a bundle then parses the wrong bytes, which still begin
# like a file of its format; and memory holds one whole file for each range.
# What to do: compare the length of what came with what was asked for; or read by open(); or fetch the file whole.
#
# usage: bash findings/fsspec-range-is-the-whole-file.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fsspec==2026.9.0 aiohttp==3.14.5
venv/bin/python - <<'PYTHON'
import http.server
import sys
import threading
from importlib.metadata import version

import fsspec

print("fsspec", version("fsspec"), "aiohttp", version("aiohttp"))
CONTENT = bytes(range(256)) * 40


class Plain(http.server.BaseHTTPRequestHandler):
    """Give the file whole, whatever is asked."""

    ranges = False

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        part, asked = CONTENT, self.headers.get("Range")
        if self.ranges and asked:
            first, last = asked.removeprefix("bytes=").split("-")
            start = int(first) if first else len(CONTENT) - int(last)
            part = CONTENT[start : int(last) + 1 if first and last else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)


class Ranges(Plain):
    ranges = True


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/file.bin"


files = fsspec.filesystem("http", skip_instance_cache=True)


def sought(url):
    with files.open(url, block_size=64) as file:
        file.seek(100)
        return file.read(10)


CALLS = {
    "cat_file(100, 110)": lambda url: files.cat_file(url, start=100, end=110),
    "cat_file(-10)": lambda url: files.cat_file(url, start=-10),
    "cat_ranges, the second": lambda url: files.cat_ranges([url, url], [5, 100], [15, 110])[1],
    "open, seek, read": sought,
    "tail(10)": lambda url: files.tail(url, 10),
}
so = True
for name, handler in (("with ranges", Ranges), ("without", Plain)):
    url = serve(handler)
    for call, ask in CALLS.items():
        right = CONTENT[-10:] if "10)" in call and "110" not in call else CONTENT[100:110]
        try:
            answer = ask(url)
            said = "right" if answer == right else f"{len(answer)} bytes, from {list(answer[:3])}"
            whole = answer == CONTENT
        except ValueError as error:
            said, whole = f"ValueError: {str(error)[:70]}", False
        print(f"server {name}: {call}: {said}")
        so &= said == "right" if handler is Ranges else whole if "cat" in call else said.startswith("ValueError")
print("still so: a range is the whole file" if so else "changed")
sys.exit(not so)
PYTHON
