"""A comparison as one HTML page that needs nothing else: no script, no request, all pictures inside."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from ecovision_edge.base.names import printable
from ecovision_edge.comparison.answers import Disagreement, FrameComparison
from ecovision_edge.comparison.outcomes import LabelledComparison, Outcome
from ecovision_edge.comparison.report import ComparisonReport
from ecovision_edge.comparison.text import (
    class_rows,
    contract_lines,
    count_lines,
    frame_lines,
    label_line,
    latency_line,
    side_line,
    verdict_line,
)
from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.images import read_image
from ecovision_edge.preprocess.region import Region

__all__ = ["MOST_SHOWN", "THUMBNAIL", "page"]

MOST_SHOWN = 60
"""Pictures of each gallery: a page of three has at most some 2 MB."""
THUMBNAIL = 176  # pixels, longer side
_QUALITY = 80  # of JPEG: some 7 kB a thumbnail

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1b1f24;--soft:#5b6570;--line:#d9dee4;--card:#f5f7f9;
--good:#00694b;--bad:#a8201a}
@media (prefers-color-scheme:dark){:root{--page:#14171a;--text:#e6e9ec;--soft:#9aa5b1;--line:#343b43;
--card:#1d2226;--good:#6fdcb4;--bad:#ff9d93}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:64rem;background:var(--page);color:var(--text);
font:1rem/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.2rem 0}
h2{font-size:1.15rem;margin:2rem 0 .6rem}
p{margin:.4rem 0}
.soft,figcaption small{color:var(--soft)}
.verdict{font-weight:600;padding:.5rem .8rem;border:1px solid;border-radius:.5rem}
.good{color:var(--good)}.bad{color:var(--bad)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .5rem;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}
tbody tr:last-child td{font-weight:600}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem}
figure{margin:0;min-width:0;background:var(--card);border:1px solid var(--line);border-radius:.5rem;
padding:.5rem}
figure img,.gone{display:block;width:100%;aspect-ratio:1;object-fit:contain}
.gone{display:grid;place-items:center;color:var(--soft)}
figcaption{font-size:.85rem;line-height:1.3;margin-top:.3rem}
figcaption small{display:block}
"""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A picture of a gallery: its file, what of it is shown, and the words below it."""

    path: Path
    region: Region | None
    words: str
    name: str


def page(report: ComparisonReport) -> str:
    """Return the whole page; it reads the pictures that it shows again, one at a time."""
    html = ET.Element("html", {"lang": "en"})
    _head(html)
    main = _add(_add(html, "body"), "main")
    _add(main, "h1", "Two models compared")
    _add(main, "p", f"old: {side_line(report.old)}")
    _add(main, "p", f"new: {side_line(report.new)}")
    if (verdict := report.verdict) is not None:
        _add(main, "p", verdict_line(report), {"class": f"verdict {'good' if verdict.ok else 'bad'}"})
    _add(main, "p", label_line(report.labels))
    if report.latency is not None:
        _add(main, "p", latency_line(report.latency))
    if report.labelled is not None and report.data is not None:
        _photographs(main, report.labelled, report.data)
    if report.frames is not None:
        _recording(main, report.frames)
    _add(main, "h2", "Contract")
    _lines(main, contract_lines(report.contract))
    return "<!DOCTYPE html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def _head(html: ET.Element) -> None:
    head = _add(html, "head")
    _add(head, "meta", None, {"charset": "utf-8"})
    _add(head, "meta", None, {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    # The browser itself is told to fetch nothing.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    _add(head, "meta", None, {"http-equiv": "Content-Security-Policy", "content": policy})
    _add(head, "title", "Two models compared")
    _add(head, "style", _STYLE)


def _photographs(main: ET.Element, labelled: LabelledComparison, data: Path) -> None:
    _add(main, "h2", "Labelled photographs")
    _table(main, class_rows(labelled))
    _lines(main, count_lines(labelled))
    worse = [o for o in labelled.outcomes if o.worse]
    better = [o for o in labelled.outcomes if o.better]
    other = [o for o in labelled.outcomes if o.old != o.new and not o.worse and not o.better]
    for title, outcomes in (
        ("Was right, is wrong", worse),
        ("Was wrong, is right", better),
        ("Wrong in another way", other),
    ):
        _gallery(main, title, [_of_outcome(outcome, data) for outcome in outcomes])


def _recording(main: ET.Element, frames: FrameComparison) -> None:
    _add(main, "h2", "Frames that nobody labelled")
    _lines(main, (line for line in frame_lines(frames) if not line.startswith("  ")))
    surest = sorted(frames.disagreements, key=lambda d: -d.sureness)
    _gallery(main, "They disagree; first where both are surest", [_of_frame(d) for d in surest])


def _of_frame(d: Disagreement) -> _Shown:
    words = f"{d.old} {d.old_score:.2f} \N{RIGHTWARDS ARROW} {d.new} {d.new_score:.2f}"
    return _Shown(d.path, d.region, words, d.path.name)


def _of_outcome(outcome: Outcome, data: Path) -> _Shown:
    words = f"{outcome.truth}: {outcome.old} \N{RIGHTWARDS ARROW} {outcome.new}"
    return _Shown(data / outcome.name, None, words, outcome.name)


def _gallery(main: ET.Element, title: str, shown: Sequence[_Shown]) -> None:
    if not shown:
        return
    few = f", {MOST_SHOWN} of them here" if len(shown) > MOST_SHOWN else ""
    _add(main, "h2", f"{title}: {len(shown)}{few}")
    gallery = _add(main, "div", None, {"class": "gallery"})
    for one in shown[:MOST_SHOWN]:
        figure = _add(gallery, "figure")
        if (source := _thumbnail(one.path, one.region)) is None:
            _add(figure, "div", "no longer there", {"class": "gone"})
        else:
            _add(figure, "img", None, {"src": source, "alt": one.words})
        caption = _add(figure, "figcaption", one.words)
        _add(caption, "small", one.name)


def _thumbnail(path: Path, region: Region | None) -> str | None:
    """Return a picture as a data URI, its long side at most `THUMBNAIL`; None where it is gone."""
    try:
        frame = read_image(path, _small if region is None else None)
    except ImageReadError:
        return None
    part = frame if region is None else region.cut(frame)
    if part.size == 0:
        return None
    height, width = part.shape[:2]
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _small(height: int, width: int) -> int:
    """Say how many times smaller a JPEG may be decoded for a thumbnail."""
    return next((by for by in (8, 4, 2) if max(height, width) / by >= THUMBNAIL), 1)


def _table(main: ET.Element, rows: Sequence[Sequence[str]]) -> None:
    table = _add(_add(main, "div", None, {"class": "scroll"}), "table")
    head = _add(_add(table, "thead"), "tr")
    for name in rows[0]:
        _add(head, "th", name)
    body = _add(table, "tbody")
    for row in rows[1:]:
        line = _add(body, "tr")
        for cell in row:
            _add(line, "td", cell)


def _lines(main: ET.Element, lines: Iterable[str]) -> None:
    for line in lines:
        _add(main, "p", line, {"class": "soft"} if line.startswith("  ") else {})


def _add(
    parent: ET.Element, tag: str, text: str | None = None, attributes: dict[str, str] | None = None
) -> ET.Element:
    """Add an element; what no page should hold, as names of files may, is escaped."""
    given = {name: printable(value) for name, value in (attributes or {}).items()}
    element = ET.SubElement(parent, tag, given)
    if text is not None:
        element.text = text if tag == "style" else printable(text)
    return element
