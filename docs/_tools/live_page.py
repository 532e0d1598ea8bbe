"""Take the picture of the live page: `python docs/_tools/live_page.py`.

A bin looks at the synthetic camera until it has decided that a sheet is paper; then the page is photographed.
Everything in the picture is drawn by this project. Needs the extras web and dev, and Chromium.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

PICTURE = Path(__file__).resolve().parents[1] / "images" / "live-page.webp"
MAX_BYTES = 200_000
QUALITY = 86  # of WebP: text stays sharp
SIZE = {"width": 1120, "height": 780}
SOURCE = "demo:?frames=900&fps=15"  # not live, so a busy machine drops no frame
LATE_MS = 300_000
RULES = """
schema = 1
name = "A household"
default = "residual"
[bins]
paper = ["paper", "cardboard"]
bio = ["biological"]
packaging = ["plastic", "metal", "glass"]
textiles = ["clothes", "shoes"]
special = ["battery"]
residual = ["trash"]
"""
SCENE = """() => {
  const events = document.querySelectorAll("#bin-events li");
  return events.length > 0 && events[0].textContent.includes("paper")
    && document.getElementById("label").textContent === "paper"
    && document.getElementById("bin-state").textContent === "Decided"
    && document.getElementById("bin-since").textContent !== "for 0 s";
}"""


def main() -> None:
    """Run the bin, take the picture, and write it smaller than 200 kB."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        rules = Path(folder) / "rules.toml"
        rules.write_text(RULES, encoding="utf-8")
        command = [sys.executable, "-m", "ecovision_edge", "run", "--source", SOURCE, "--bin", str(rules)]
        command += ["--http", f"127.0.0.1:{port}", "--sink", "file:events.jsonl", "--output", "none"]
        bin_process = subprocess.Popen(command, cwd=folder)
        try:
            png = _photograph(f"http://127.0.0.1:{port}/")
        finally:
            bin_process.terminate()
            bin_process.wait()
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit("the browser's picture cannot be read")
    _, webp = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if len(webp) >= MAX_BYTES:
        raise SystemExit(f"expected a picture below {MAX_BYTES} bytes, found {len(webp)}: lower QUALITY")
    PICTURE.write_bytes(webp.tobytes())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _photograph(url: str) -> bytes:
    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", locale="en-GB", timezone_id="UTC")  # type: ignore[arg-type]
        _open(page, url)
        page.wait_for_function(SCENE, timeout=LATE_MS)
        picture = page.screenshot(full_page=True)
        browser.close()
    return picture


def _open(page: Page, url: str) -> None:
    """Open the page, whose server may still be starting."""
    for _ in range(300):
        try:
            page.goto(url)
        except Exception:  # noqa: BLE001 - the browser's error of a port that nobody serves yet
            page.wait_for_timeout(100)
        else:
            return
    raise SystemExit(f"nobody serves {url}")


if __name__ == "__main__":
    main()
