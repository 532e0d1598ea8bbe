#!/usr/bin/env bash
# python-tuf: a client that is killed between two system calls never starts again, with its newest root whole beside it.
#
# Ground: a client that was given its first root and starts from then on with bootstrap=None ("use the cached root.json
# as the trust anchor"), as a device has it that is built once. Its process is killed, as by a watchdog or a pulled
# plug, at each step by which files are replaced in its folder; then it is started again. No server is needed for that.
# Guess before running: it starts. What is written has docstrings that say "to disk atomically to avoid data loss", and
# a test that pulls the plug finds nothing, for the moment is short.
# Seen (tuf 7.0.1, Python 3.11):
#   killed before os.replace: starts, and a file tmp* stays in the folder for good; before os.remove: starts
#   killed before os.symlink: FileNotFoundError for root.json, at this start and at each that follows, while
#     root_history/1.root.json is there, whole; so neither a RepositoryError nor a DownloadError
#   with bootstrap=bytes it starts again, and root.json is back
# root.json is a link that is removed and then made anew: at each start, and at the end of each refresh(), with or
# without a new root. So each check for an update has this moment twice.
# What to do: never start with bootstrap=None: give the root that the program was built with, and let the client walk on
# from it (it reads root_history before it asks the server); remove tmp* before a start.
#
# usage: bash findings/tuf-killed-client-has-no-root.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tuf==7.0.1 urllib3==2.8.0 cryptography==50.0.2
venv/bin/python - <<'PYTHON'
import os
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import Updater

print("tuf", version("tuf"))
signer = CryptoSigner.generate_ed25519()
root = Root(expires=datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30))
for role in ("root", "targets", "snapshot", "timestamp"):
    root.add_key(signer.public_key, role)
signed = Metadata(root)
signed.sign(signer)
first = signed.to_bytes()


def start(folder, bootstrap=None):
    """Start a client; give what was raised."""
    try:
        Updater(folder, "http://127.0.0.1:9/", bootstrap=bootstrap)
    except Exception as error:
        return error
    return None


def killed(folder, event):
    """Start a client in a process of its own that is killed when it is about to do this."""
    child = os.fork()
    if not child:
        sys.addaudithook(lambda name, arguments: os._exit(9) if name == event else None)
        start(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


so = True
for event in ("os.rename", "os.remove", "os.symlink"):  # os.replace reports itself as os.rename
    folder = event
    os.mkdir(folder)
    so &= start(folder, first) is None and start(folder) is None and killed(folder, event)
    left = sorted(os.listdir(folder))
    errors = [start(folder), start(folder)]
    with open(f"{folder}/root_history/1.root.json", "rb") as file:
        whole = file.read() == first
    print(f"killed before {event}: leaves {left}, root_history's file {'is' if whole else 'is not'} whole")
    print(f"  started twice: {[type(error).__name__ if error else 'starts' for error in errors]}")
    lost = event == "os.symlink"
    so &= whole and all(isinstance(error, FileNotFoundError) == lost for error in errors)
    so &= (event == "os.rename") == any(name.startswith("tmp") for name in left)
    so &= start(folder, first) is None and start(folder) is None
    print("  with bootstrap=bytes, then None again: starts" if so else "  changed")
print("still so: a killed client has no root.json" if so else "changed")
sys.exit(not so)
PYTHON
