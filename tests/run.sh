#!/usr/bin/env bash
# Set up .venv and what the tests need from Debian, then run every check: lint, types, layers, tests.
# usage: bash tests/run.sh [pytest arguments]
set -euo pipefail
if [ -n "${ECOVISION_DATA:-}" ]; then ECOVISION_DATA=$(cd "$ECOVISION_DATA" && pwd); export ECOVISION_DATA; fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The emulated Raspberry Pi of tests/arm64 needs these; without root, or elsewhere than on Debian, its tests skip.
if [ -d ../shared/arm64 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  packages=(qemu-user qemu-user-static mmdebstrap binutils-aarch64-linux-gnu gcc libc6-dev python3-venv)
  if ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  fi
fi
bash export/setup-venv.sh all,dev
run=.venv/bin/python

# Beside ../shared everything is there that a test can want: then a skip is a failure.
if [ -d ../shared/data ]; then export ECOVISION_NO_SKIP=1; fi
step() { printf '\n== %s\n' "$*"; }
step ruff;   $run -m ruff check . && $run -m ruff format --check .
step mypy;   $run -m mypy
step pytest; $run -m pytest "$@"
