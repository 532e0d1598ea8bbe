#!/usr/bin/env bash
# python-tuf: download_target() writes into the file that is there; a program that has it mapped, and a hard link kept
# to go back to, have the new content. Metadata beside it is replaced.
#
# Ground: a repository on this machine publishes a target of 100,000 bytes "1", then one of as many "2". The client
# fetches both to the same name, as `download_target(info)` does of itself. Between them the first is mapped, as engines
# map a model's weights, and kept under a second name by os.link, as `cp -l` and rsync's --link-dest keep it.
# Guess before running: the target is renamed into its place, as the same class does it with metadata ("to disk
# atomically to avoid data loss"); who has the old file open keeps it, and the second name keeps the old content.
# Seen (tuf 7.0.1, Python 3.11, Linux):
#   timestamp.json: another inode, and who had it open still reads the old one
#   the target: the same inode; the mapping's bytes are "2", the file kept to go back to is the new one
#   in between it is cut to nothing and filled: at the first byte of the copy its size is 0
# So the network that runs changes its weights below an inference, and is gone for a moment (reading a map beyond the
# end of its file ends a process); a disk that is full or a plug that is pulled then leaves no good file, old or new.
# What to do: download to a new name (`download_target(info, filepath=...)`), bring it to the disk, os.replace() it.
#
# usage: bash findings/tuf-target-is-written-in-place.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tuf==7.0.1 urllib3==2.8.0 cryptography==50.0.2
venv/bin/python - <<'PYTHON'
import functools
import http.server
import mmap
import os
import shutil
import sys
import threading
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater

print("tuf", version("tuf"))
expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
signer = CryptoSigner.generate_ed25519()
for folder in ("web", "client"):
    os.mkdir(folder)


def write(name, role):
    signed = Metadata(role)
    signed.sign(signer)
    signed.to_file(f"web/{name}.json")


def publish(number, content):
    with open("web/model.bin", "wb") as file:
        file.write(content)
    target = TargetFile.from_file("model.bin", "web/model.bin")
    meta = MetaFile(number)
    write("targets", Targets(number, expires=expires, targets={"model.bin": target}))
    write("snapshot", Snapshot(number, expires=expires, meta={"targets.json": meta}))
    write("timestamp", Timestamp(number, expires=expires, snapshot_meta=meta))


root = Root(expires=expires, consistent_snapshot=False)
for role in ("root", "targets", "snapshot", "timestamp"):
    root.add_key(signer.public_key, role)
write("1.root", root)


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory="web"))
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
sizes = []  # of the target, when its bytes begin to be copied
copy = shutil.copyfileobj


def watch(source, destination, *arguments):
    if getattr(destination, "name", None) == "client/model.bin":  # the server copies too
        sizes.append(os.fstat(destination.fileno()).st_size)
    return copy(source, destination, *arguments)


def update():
    """Fetch the target as a client that starts anew; give the inodes of a metadata file and of the target."""
    with open("web/1.root.json", "rb") as file:
        updater = Updater("client", url, "client", url, bootstrap=file.read())
    path = updater.download_target(updater.get_targetinfo("model.bin"))
    assert path == "client/model.bin"
    return os.stat("client/timestamp.json").st_ino, os.stat(path).st_ino


publish(1, b"1" * 100_000)
before = update()
os.link("client/model.bin", "previous.bin")
with open("client/model.bin", "rb") as model, open("client/timestamp.json", "rb") as timestamp:
    mapped = mmap.mmap(model.fileno(), 0, access=mmap.ACCESS_READ)
    publish(2, b"2" * 100_000)
    shutil.copyfileobj = watch
    after = update()
    with open("previous.bin", "rb") as file:
        previous = file.read(3)
    with open("client/timestamp.json", "rb") as file:
        kept = timestamp.read() != file.read()
    print("timestamp.json:", "the same inode;" if before[0] == after[0] else "another inode;",
          "who had it open reads the old one" if kept else "who had it open reads the new one")
    print("model.bin:", "the same inode;" if before[1] == after[1] else "another inode;",
          f"mapped {mapped[:3]}, previous.bin {previous}, size when the copy begins {sizes}")
    so = (before[0] != after[0] and kept and before[1] == after[1]
          and mapped[:] == b"2" * 100_000 and previous == b"222" and sizes == [0])
print("still so: the target is written in place" if so else "changed")
sys.exit(not so)
PYTHON
