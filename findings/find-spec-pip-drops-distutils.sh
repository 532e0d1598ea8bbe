#!/usr/bin/env bash
# importlib.util.find_spec("pip") switches setuptools' distutils off for the whole process.
#
# Ground: a program that names a pip line in its errors asks whether pip is there; torch.compile and other builders in
# the same process then import distutils (Python 3.10 and 3.11).
# Guess before running: find_spec looks for a module and changes nothing.
# Seen (Python 3.11, setuptools 80.9.0): before, `import distutils` is setuptools' copy, without a warning. After
# find_spec("pip") it is the standard library's, with its DeprecationWarning: setuptools hooks the import system, takes
# the look-up for the start of pip, and steps aside for good. Asking importlib.metadata leaves it alone.
# What to do: importlib.metadata.version("pip") in place of find_spec("pip").
#
# usage: bash findings/find-spec-pip-drops-distutils.sh   (exit 0: still so; 1: it has changed). Python 3.10 or 3.11.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -c 'import sys; sys.exit(sys.version_info >= (3, 12))' ||
  { echo "needs Python 3.10 or 3.11: later ones have no distutils of their own" >&2; exit 2; }
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check setuptools==80.9.0
ask() { venv/bin/python -W ignore -c "import importlib.metadata, importlib.util
$1
import distutils
print('setuptools' if 'setuptools' in distutils.__file__ else 'standard library')"; }
untouched=$(ask "")
metadata=$(ask "importlib.metadata.version('pip')")
looked=$(ask "importlib.util.find_spec('pip')")
echo "nothing asked: $untouched; importlib.metadata: $metadata; find_spec: $looked"
[ "$untouched/$metadata/$looked" = "setuptools/setuptools/standard library" ] || { echo changed; exit 1; }
echo "still so: a look-up of pip takes setuptools' distutils away"
