#!/usr/bin/env bash
# The main job on a fresh machine: set up .venv, export the reference model from its checkpoint, verify the
# bundle, classify frames with it, and print the parity table. Photographs are used where ECOVISION_DATA names a
# folder with train/CLASS and val/CLASS; else drawn frames, and the transcript says how weak that evidence is.
# usage: bash export/quickstart.sh [BUNDLE]       (default: build/reference)
set -euo pipefail
if [ -n "${ECOVISION_DATA:-}" ]; then ECOVISION_DATA=$(cd "$ECOVISION_DATA" && pwd); fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-build/reference}

bash export/setup-venv.sh export,bench
tool=.venv/bin/ecovision-edge
photographs=()
if [ -n "${ECOVISION_DATA:-}" ]; then
  photographs=(--calib "$ECOVISION_DATA/train" --val "$ECOVISION_DATA/val")
fi
$tool export --weights reference ${photographs[@]+"${photographs[@]}"} --out "$out"
$tool verify "$out"
$tool classify demo: --bundle "$out"
