#!/usr/bin/env bash
# VideoCapture.read() returning (False, None) is not the end of the file: one damaged frame says the same.
#
# Ground: an AVI of 20 Motion JPEG frames by cv2.VideoWriter in which the bytes of frame 9 are zeros, as a bad block of
# an SD card may leave them. Each frame shows its own number as a grey level.
# Guess before running: a False ends the video (every example says `if not ok: break`); a damaged frame is skipped or
# handed out spoilt.
# Seen (opencv-python-headless 4.8.0.76 with numpy 1.26.4, and 5.0.0.93 with numpy 2.4.6; FFmpeg backend):
#   reads 0 to 8 give frames 0 to 8; read 9 gives False; reads 10 to 19 give frames 10 to 19; then False at each read
#   the usual loop ends after 9 of 20 frames, with no error; CAP_PROP_FRAME_COUNT says 20 throughout
# So a counter or an evaluation over recorded video silently loses all that follows the first damaged frame.
# What to do: on False from a file, compare the frames read with CAP_PROP_FRAME_COUNT and read on; take several
# Falses in a row for the end; report how many frames were lost.
#
# usage: bash findings/opencv-read-false-is-not-the-end.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat > damaged.py <<'PYTHON'
import sys
from pathlib import Path

import cv2
import numpy as np

writer = cv2.VideoWriter("whole.avi", cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
assert writer.isOpened()
for number in range(20):
    writer.write(np.full((48, 64, 3), number * 12, np.uint8))
writer.release()
data = bytearray(Path("whole.avi").read_bytes())
at = data.index(b"movi")
for _ in range(10):  # the chunk of frame 9
    at = data.index(b"00dc", at + 4)
size = int.from_bytes(data[at + 4 : at + 8], "little")
data[at + 8 : at + 8 + size] = bytes(size)
Path("damaged.avi").write_bytes(data)

capture = cv2.VideoCapture("damaged.avi", cv2.CAP_FFMPEG)
seen = []
for _ in range(25):
    ok, frame = capture.read()
    seen.append(round(float(frame.mean()) / 12) if ok else None)
print(cv2.__version__, "frame count", capture.get(cv2.CAP_PROP_FRAME_COUNT), "reads:",
      " ".join("False" if number is None else str(number) for number in seen))
expected = [*range(9), None, *range(10, 20), None, None, None, None, None]
sys.exit(int(seen != expected))
PYTHON
changed=0
for pinned in "numpy==1.26.4 opencv-python-headless==4.8.0.76" "numpy==2.4.6 opencv-python-headless==5.0.0.93"; do
  rm -rf venv; python3 -m venv venv
  # shellcheck disable=SC2086  # two requirements
  venv/bin/pip install --quiet --disable-pip-version-check $pinned
  OPENCV_FFMPEG_LOGLEVEL=-8 venv/bin/python damaged.py || changed=1
done
[ "$changed" = 0 ] && echo "still so: the video goes on behind a False" || echo "changed"
exit "$changed"
