#!/usr/bin/env bash
# python-tuf: a connection that is cut in the middle of a file raises urllib3's ProtocolError, the one network failure
# that is neither a DownloadError nor an OSError; a refused one is "slow".
#
# Ground: a repository on this machine and a client that fetches its metadata and one target, while the server answers
# 500, closes at once, stalls in the middle, or closes in the middle; at last nobody listens.
# Guess before running: all of them are what the docstrings of refresh() and download_target() name: DownloadError, or
# OSError; SlowRetrievalError, which is one, is for the stall.
# Seen (tuf 7.0.1, urllib3 2.8.0):
#   500: DownloadHTTPError; closed before the answer: DownloadError; stalled: SlowRetrievalError
#   closed in the middle: urllib3.exceptions.ProtocolError "Connection broken: IncompleteRead(...)", for the target and
#     for timestamp.json alike
#   nobody listens: SlowRetrievalError, without a message
# So an updater that catches (DownloadError, RepositoryError, OSError), as the docstrings have it, lives through every
# test with a server that is down and ends by a traceback on a train.
# What to do: catch urllib3.exceptions.HTTPError too, around refresh(), get_targetinfo() and download_target(); and do
# not tell users that the server is slow when it may be down.
#
# usage: bash findings/tuf-cut-connection-escapes.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tuf==7.0.1 urllib3==2.8.0 cryptography==50.0.2
venv/bin/python - <<'PYTHON'
import http.server
import os
import socket
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

import urllib3.exceptions
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig, Urllib3Fetcher

print("tuf", version("tuf"), "urllib3", version("urllib3"))
for folder in ("metadata", "targets"):
    os.mkdir(folder)
with open("targets/model.bin", "wb") as file:
    file.write(b"1" * 100_000)
expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
signer = CryptoSigner.generate_ed25519()
root = Root(expires=expires, consistent_snapshot=False)
for role in ("root", "targets", "snapshot", "timestamp"):
    root.add_key(signer.public_key, role)
targets = Targets(expires=expires)
targets.targets["model.bin"] = TargetFile.from_file("model.bin", "targets/model.bin")
for name, role in (("1.root", root), ("targets", targets), ("snapshot", Snapshot(expires=expires)),
                   ("timestamp", Timestamp(expires=expires))):
    signed = Metadata(role)
    signed.sign(signer)
    signed.to_file(f"metadata/{name}.json")
trouble = ("", "")  # the file that has it, and what


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path, what = trouble
        if not path or not self.path.endswith(path):
            return super().do_GET()
        if what == "500":
            return self.send_error(500)
        if what in ("stalls", "cut"):
            with open(self.path[1:], "rb") as file:
                content = file.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:len(content) // 2])
            self.wfile.flush()
            time.sleep(3 if what == "stalls" else 0)
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
up = f"http://127.0.0.1:{server.server_port}"
with socket.create_server(("127.0.0.1", 0)) as unused:
    down = f"http://127.0.0.1:{unused.getsockname()[1]}"
clients = 0


def fetch(url):
    """Fetch the target as a new client; give what was raised."""
    global clients
    clients += 1
    os.makedirs(f"client{clients}/targets")
    with open("metadata/1.root.json", "rb") as file:
        updater = Updater(f"client{clients}/metadata", f"{url}/metadata/", f"client{clients}/targets",
                          f"{url}/targets/", fetcher=Urllib3Fetcher(socket_timeout=1), bootstrap=file.read(),
                          config=UpdaterConfig(prefix_targets_with_hash=False))
    try:
        updater.refresh()
        updater.download_target(updater.get_targetinfo("model.bin"))
    except Exception as error:
        return error
    return None


CASES = [((path, what), up) for path in ("timestamp.json", "model.bin") for what in ("500", "closed", "stalls", "cut")]
so = fetch(up) is None
for trouble, url in [*CASES, (("nobody listens", ""), down)]:
    error = fetch(url)
    named = isinstance(error, (DownloadError, RepositoryError, OSError))
    print(f"{' '.join(trouble)}: {type(error).__module__}.{type(error).__name__} {str(error)[:60]!r}; "
          f"{'as documented' if named else 'not as documented'}")
    so &= named != (trouble[1] == "cut")
    so &= isinstance(error, urllib3.exceptions.ProtocolError) == (trouble[1] == "cut")
so &= type(error).__name__ == "SlowRetrievalError"
print("still so: a cut connection escapes" if so else "changed")
sys.exit(not so)
PYTHON
