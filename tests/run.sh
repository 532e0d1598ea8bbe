#!/usr/bin/env bash
# Set up .venv and what the tests need from Debian, then run every check: lint, types, layers, tests.
# usage: bash tests/run.sh [pytest arguments]
set -euo pipefail
if [ -n "${ECOVISION_DATA:-}" ]; then ECOVISION_DATA=$(cd "$ECOVISION_DATA" && pwd); export ECOVISION_DATA; fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The tests with an emulated Raspberry Pi, with a browser, and with real servers need these. They are installed in
# CI and beside ../shared, as root on Debian; not on somebody's own machine, where their tests skip and name the
# apt-get line.
if { [ -n "${CI:-}" ] || [ -d ../shared ]; } && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  packages=(qemu-user mmdebstrap gcc libc6-dev binutils-aarch64-linux-gnu debian-archive-keyring python3-venv)
  packages+=(chromium systemd g++ mosquitto nginx-light openssl)  # the page, the unit, the sketch, servers
  packages+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)  # the native filter's wheel for a Pi
  # a camera's RTSP server
  packages+=(gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good)
  install() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  }
  if ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
    if "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null; then install & debian=$!; else install; fi
  fi
fi
# pip compiles one file after the other, for over a minute: compileall does it on all cores, beside the checks.
bash export/setup-venv.sh all,dev,docs --no-compile
run=.venv/bin/python
$run -m compileall -qq -j 0 .venv/lib/python*/site-packages & compiled=$!

# Beside ../shared everything is there that a test can want: then a skip is a failure.
if [ -d ../shared/data ]; then export ECOVISION_NO_SKIP=1; fi
step() { printf '\n== %s\n' "$*"; }
step ruff
$run -m ruff check .
$run -m ruff format --check .
step mypy
$run -m mypy
wait "$compiled" || true  # some libraries bring templates, which are no Python yet
[ -z "${debian:-}" ] || wait "$debian"
# One process a core, each with a file of tests at a time: half the time of one after the other.
export OMP_NUM_THREADS=1
step pytest
$run -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
