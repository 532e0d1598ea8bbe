#!/usr/bin/env bash
# OpenCV 4.6.0 alone hands out a video with a quarter turn upside down; the versions before and after do not.
#
# Ground: an MP4 written by cv2.VideoWriter, with the display matrix of its track header (`tkhd`) set to a turn, as
# telephones and cameras mounted on their side write it. The frame is black with its top left quarter white.
# Guess before running: 4.6.0 does what 4.5.5 and 4.7.0 do, which is to turn the frame as the header says.
# Seen (opencv-python-headless 4.5.5.64, 4.6.0.66, 4.7.0.72, 4.8.0.76 with numpy 1.26.4; the python3-opencv 4.6.0 of
# Debian 12 was seen to do the same):
#   tag 90: white is at the top right, CAP_PROP_ORIENTATION_META is 90; in 4.6.0 the bottom left, and 270
#   tag 270: white is at the bottom left, CAP_PROP_ORIENTATION_META is 270; in 4.6.0 the top right, and 90
#   tags 0 and 180: equal in all versions; the shape of the frame is right everywhere, so a check of it finds nothing
#   CAP_PROP_ORIENTATION_AUTO=0: every version gives the stored frame, and 4.6.0 still a wrong CAP_PROP_ORIENTATION_META
# So a detector that was fine on one machine sees the world upside down on a Raspberry Pi OS or Debian 12 with its own
# OpenCV, without an error.
# What to do: with 4.6.0, turn CAP_PROP_ORIENTATION_AUTO off and turn the frame by (360 - META) % 360; or take another
# version; or re-encode the video without the tag.
#
# usage: bash findings/opencv-460-quarter-turn.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==1.26.4
cat > turned.py <<'PYTHON'
import struct
import sys
from pathlib import Path

import cv2
import numpy as np

ONE = 1 << 16
LAST = (0, 0, 1 << 30)
MATRIX = {  # the nine numbers of the header, by the turn clockwise in degrees
    0: (ONE, 0, 0, 0, ONE, 0, *LAST),
    90: (0, ONE, 0, -ONE, 0, 0, *LAST),
    180: (-ONE, 0, 0, 0, -ONE, 0, *LAST),
    270: (0, -ONE, 0, ONE, 0, 0, *LAST),
}
RIGHT = {0: "top left", 90: "top right", 180: "bottom right", 270: "bottom left"}


def write(path):
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    assert writer.isOpened()
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, :32] = 255
    for _ in range(5):
        writer.write(frame)
    writer.release()


def tag(path, turn):
    data = bytearray(Path("plain.mp4").read_bytes())
    box = data.index(b"tkhd")
    assert data[box + 4] == 0  # the header's version: 32-bit times
    at = box + 4 + 4 + 20 + 16
    assert struct.unpack(">9i", data[at : at + 36]) == MATRIX[0]
    data[at : at + 36] = struct.pack(">9i", *MATRIX[turn])
    Path(path).write_bytes(data)


def white(frame):
    h, w = frame.shape[0] // 2, frame.shape[1] // 2
    parts = {"top left": frame[:h, :w], "top right": frame[:h, w:],
             "bottom left": frame[h:, :w], "bottom right": frame[h:, w:]}
    return max(parts, key=lambda name: parts[name].mean())


changed = False
write("plain.mp4")
for turn, right in RIGHT.items():
    tag("turned.mp4", turn)
    capture = cv2.VideoCapture("turned.mp4", cv2.CAP_FFMPEG)
    ok, frame = capture.read()
    assert ok
    meta = int(capture.get(cv2.CAP_PROP_ORIENTATION_META))
    stored = cv2.VideoCapture("turned.mp4", cv2.CAP_FFMPEG)
    stored.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    plain = white(stored.read()[1])
    print(f"  {cv2.__version__}, tag {turn}: {frame.shape[1]}x{frame.shape[0]}, white at the {white(frame)}, "
          f"META {meta}; AUTO=0: {plain}")
    expected = -turn % 360 if cv2.__version__ == "4.6.0" else turn
    changed |= (meta, white(frame), plain) != (expected, RIGHT[expected], "top left")
sys.exit(int(changed))
PYTHON
changed=0
for version in 4.5.5.64 4.6.0.66 4.7.0.72 4.8.0.76; do
  venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target "cv-$version" \
    "opencv-python-headless==$version"
  PYTHONPATH="$PWD/cv-$version" venv/bin/python turned.py || changed=1
done
[ "$changed" = 0 ] && echo "still so: 4.6.0 alone turns the other way" || echo "changed"
exit "$changed"
