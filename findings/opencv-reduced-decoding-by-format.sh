#!/usr/bin/env bash
# OpenCV's IMREAD_REDUCED_*_8: a JPEG is averaged over 8x8 pixels, every other format is sampled at 2x2 of them, and the
# two differ in size.
#
# Ground: the same picture as JPEG (quality 100), PNG, BMP, TIFF and lossless WebP, decoded at 1/2, 1/4 and 1/8: noise
# (how well is it averaged?), white with a dark line every 8 pixels, and a size that 8 does not divide, 101x75.
# Guess before running: "image size reduced 1/8" means the same whatever the file: same size, same values to within
# JPEG's own error; formats without a cheap way are decoded whole and then averaged.
# Seen (opencv-python-headless 5.0.0.93):
#   noise with standard deviation 74: at 1/8 the JPEG has 9 left (averaged), the others 36 (the mean of 4 pixels, with
#     aliasing); at 1/4 18 and 37; at 1/2 37 and 37
#   a dark line every 8 pixels: at 1/8 a JPEG is an even 223; another format is 255 or 128, by the line's place
#   101x75 at 1/8: JPEG 13x10, others 12x9; at 1/2 51x38 and 50x37
# So a folder with both kinds is prepared in two ways, and a box scaled back by 8 lies beside its thing.
# What to do: reduced decoding for JPEG only; other formats whole, then cv2.resize with INTER_AREA; take the scale from
# the size that came out, not from the flag.
#
# usage: bash findings/opencv-reduced-decoding-by-format.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 opencv-python-headless==5.0.0.93
venv/bin/python - <<'PYTHON'
import sys

import cv2
import numpy as np

print("opencv", cv2.__version__)
OPTIONS = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 100], ".png": [], ".bmp": [], ".tiff": [],
           ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}
grey = np.random.default_rng(0).integers(0, 256, size=(256, 256, 1), dtype=np.uint8)
noise = np.repeat(grey, 3, axis=2)


def lines(first):
    picture = np.full((256, 256, 3), 255, np.uint8)
    picture[:, first::8] = 0
    return picture


PICTURES = {"noise": noise, "lines at 0": lines(0), "lines at 3": lines(3), "odd": noise[:75, :101]}
found = {}
for name, picture in PICTURES.items():
    for extension, options in OPTIONS.items():
        data = cv2.imencode(extension, picture, options)[1]
        for factor in (2, 4, 8):
            found[name, extension, factor] = cv2.imdecode(data, getattr(cv2, f"IMREAD_REDUCED_COLOR_{factor}"))
so = True
print(f"noise: standard deviation {noise.std():.0f}")
for extension in OPTIONS:
    left = [float(found["noise", extension, factor].std()) for factor in (2, 4, 8)]
    levels = [int(np.median(found[f"lines at {first}", extension, 8])) for first in (0, 3)]
    sizes = [found["odd", extension, factor].shape[1::-1] for factor in (2, 8)]
    print(f"{extension}: left at 1/2, 1/4, 1/8 {left[0]:.0f} {left[1]:.0f} {left[2]:.0f}; lines at 0 and 3, 1/8: "
          f"{levels}; 101x75 at 1/2 and 1/8: {sizes}")
    averaged = extension == ".jpg"
    wanted = noise.std() / np.array([2, 4, 8] if averaged else [2, 2, 2])
    so &= bool(np.allclose(left, wanted, rtol=0.1))
    so &= bool(abs(levels[0] - levels[1]) <= 4) == averaged
    so &= sizes == ([(51, 38), (13, 10)] if averaged else [(50, 37), (12, 9)])
print("still so: reduced means two things" if so else "changed")
sys.exit(not so)
PYTHON
