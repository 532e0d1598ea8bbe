#!/usr/bin/env bash
# Make .venv in this checkout with the package (editable) and the extras named; used by quickstart.sh and
# tests/run.sh. usage: bash export/setup-venv.sh EXTRA[,EXTRA...] [arguments of pip install]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:?usage: setup-venv.sh EXTRA[,EXTRA...] [arguments of pip install]}
shift

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  { echo "needs Python 3.10 or newer: set PYTHON to one" >&2; exit 1; }
if [ -x .venv/bin/python ] && ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  # A half-made one of ours (no python3-venv yet) has nothing in it; another tool's is not ours to clear.
  [ -z "$(ls -A .venv/lib/python*/site-packages 2>/dev/null)" ] ||
    { echo ".venv has no pip: expected one that python3 -m venv made; move it away and run this again" >&2; exit 1; }
  rm -r .venv
fi
if [ ! -x .venv/bin/python ]; then
  if ! "$python" -m venv --clear .venv; then
    # Debian, Ubuntu and Raspberry Pi OS keep venv in a package of its own.
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
      { echo "needs Python's venv: sudo apt-get install python3-venv, then run this again" >&2; exit 1; }
    apt-get update -qq && apt-get install -y -qq python3-venv
    "$python" -m venv --clear .venv
  fi
fi
case ",$extras," in *,all,* | *,export,*) note=" (PyTorch too: some 6 GB, minutes)" ;; *) note="" ;; esac
echo "installing ecovision-edge[$extras] into .venv$note"
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" --editable ".[$extras]"
