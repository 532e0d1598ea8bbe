#!/usr/bin/env bash
# Pillow 13 resizes a narrow, tall picture down before it resizes it across; Pillow 12 did it the other way round.
# Pixels differ between the versions, by a level or by dozens, for some sizes and not for others.
#
# Ground: crops of noise, and of thin black lines on white, resized to a network's input; each version against itself in
# two explicit steps, and against the other.
# Guess before running: a resize with the same filter gives the same bytes in each version; the order (rows first,
# rounded to 8 bits, then columns) is part of what it computes, since trainings and golden vectors hang on it.
# Seen (Pillow 12.3.0 and 13.0.0, Python 3.11):
#   12.3 goes across first in every case here; 13.0 goes down first where the picture grows across and shrinks down
#   300x100 (height x width) of noise to 224x224: BILINEAR differs in 25 % of values, by 1; BICUBIC in 30 %, by up to
#     21; LANCZOS in 38 %, by up to 40, for what is between the two steps is cut to 0 and 255
#   lines: BILINEAR by 1, BICUBIC by up to 24, LANCZOS by up to 38
#   480x640, 1080x1920, 1920x1080 and 100x100 to 224x224, 50x300 to 96x112: not one value differs; BOX never
# So whole frames of a camera pass every test of an upgrade, and crops of standing bottles or of people do not.
# What to do: pin Pillow where bytes count (a training, its calibration and the device alike), or resize in two steps of
# one's own, across and then down: these are the same in both.
#
# usage: bash findings/pillow-resize-order.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
pip="venv/bin/pip --disable-pip-version-check"
$pip install --quiet numpy==2.4.6 pillow==13.0.0
$pip install --quiet --no-deps --target twelve pillow==12.3.0
cat > resize.py <<'PYTHON'
import sys

import numpy as np
import PIL
from PIL import Image

rng = np.random.default_rng(0)
SIZES = [((300, 100), (224, 224)), ((300, 50), (112, 96)), ((480, 640), (224, 224)), ((1080, 1920), (224, 224)),
         ((1920, 1080), (224, 224)), ((100, 100), (224, 224)), ((50, 300), (96, 112))]
FILTERS = [Image.Resampling[name] for name in ("BOX", "BILINEAR", "BICUBIC", "LANCZOS")]


def pictures(height, width):
    lines = np.full((height, width, 3), 255, np.uint8)
    for offset in range(0, height + width, 12):  # slanting, two pixels wide
        rows = np.arange(height)
        columns = offset - rows // 2
        for shift in (0, 1):
            inside = (columns + shift >= 0) & (columns + shift < width)
            lines[rows[inside], columns[inside] + shift] = 0
    return {"noise": rng.integers(0, 256, (height, width, 3), dtype=np.uint8), "lines": lines}


answers = {}
orders = {}
for (height, width), (down, across) in SIZES:
    for kind, array in pictures(height, width).items():
        image = Image.fromarray(array)
        for way in FILTERS:
            whole = np.asarray(image.resize((across, down), way))
            rows_first = np.asarray(image.resize((across, height), way).resize((across, down), way))
            columns_first = np.asarray(image.resize((width, down), way).resize((across, down), way))
            key = f"{kind} {height}x{width} to {down}x{across} {way.name}"
            answers[key] = whole
            answers[f"{key}, two steps"] = rows_first
            orders[key] = (np.array_equal(whole, rows_first), np.array_equal(whole, columns_first))
print("Pillow", PIL.__version__)
if len(sys.argv) == 2:
    np.savez(sys.argv[1], **answers)
    sys.exit(not all(across for across, _ in orders.values()))
so = True
with np.load(sys.argv[2]) as before:
    for key, now in answers.items():
        off = np.abs(now.astype(int) - before[key])
        if key not in orders:  # the two steps
            so &= not off.any()
            continue
        tall = "300x100" in key or "300x50 " in key
        if off.any():
            print(f"{key}: {np.mean(off > 0):.0%} of values differ, by up to {off.max()}")
        so &= orders[key][tall]
        so &= off.any() == (tall and "BOX" not in key)
        if "LANCZOS" in key and "300x100" in key:
            so &= off.max() > 20
print("still so: narrow, tall pictures differ" if so else "changed")
sys.exit(not so)
PYTHON
PYTHONPATH=twelve venv/bin/python resize.py twelve.npz || { echo "changed"; exit 1; }
venv/bin/python resize.py thirteen.npz twelve.npz
