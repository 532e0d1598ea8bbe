"""The evaluation as one HTML page that needs nothing else: no script, no request, all pictures inside."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2

from ecovision_edge.base.device import KERNEL_FEATURES
from ecovision_edge.cli.output import printable
from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.images import read_image
from ecovision_edge_bench.evaluate.metrics import CALIBRATION_SOURCE, ClassFigures, Metrics, most_confused
from ecovision_edge_bench.evaluate.plots import add, heat_map, reliability_diagram
from ecovision_edge_bench.evaluate.text import note_lines, percent, turn_rows

if TYPE_CHECKING:
    from pathlib import Path

    from ecovision_edge.photographs.turns import TurnReport
    from ecovision_edge_bench.evaluate.run import Evaluation

__all__ = ["MAX_CLASSES_SHOWN", "THUMBNAIL", "page"]

MAX_CLASSES_SHOWN = 30  # in the matrix, the gallery and the open part of the table; a model may have 1,000
MAX_CONFUSIONS = 15
THUMBNAIL = 160  # pixels, longer side
_QUALITY = 80  # of JPEG: some 6 kB a thumbnail

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1b1f24;--soft:#5b6570;--line:#d9dee4;--card:#f5f7f9;
--right:#1f66c7;--wrong:#c8401c;--on:#fff}
@media (prefers-color-scheme:dark){:root{--page:#14171a;--text:#e6e9ec;--soft:#9aa5b1;--line:#343b43;
--card:#1d2226;--right:#5b9dff;--wrong:#ff7d52;--on:#0b0d0f}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:64rem;background:var(--page);color:var(--text);
font:1rem/1.45 system-ui,sans-serif;overflow-wrap:break-word}
h1{font-size:1.5rem;margin:.2rem 0}
h2{font-size:1.15rem;margin:2rem 0 .6rem}
h3{font-size:1rem;margin:0 0 .4rem}
p{margin:.4rem 0}
.soft,figcaption small{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;margin:1rem 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
.tile b{display:block;font-size:1.45rem;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .5rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal}
tr.all td{font-weight:600}
td.share{min-width:6.5rem}
.bar{height:.35rem;border-radius:.2rem;background:var(--wrong)}
.bar i{display:block;height:100%;border-radius:.2rem;background:var(--right)}
summary{cursor:pointer;padding:.4rem 0}
.pair{display:flex;flex-wrap:wrap;gap:1rem 2rem}
.pair>.scroll{flex:0 1 auto;min-width:0;max-width:100%}
.pair>.words{flex:1 1 16rem}
ol{margin:.4rem 0;padding-left:1.6rem;columns:2 11rem}
svg{display:block;max-width:100%;height:auto}
.scroll svg{max-width:100%}
svg text{font:12px system-ui,sans-serif;fill:var(--text)}
svg .axis{fill:var(--soft)}
svg .right{fill:var(--right)}
svg .wrong{fill:var(--wrong)}
svg .empty{fill:var(--card)}
svg text.on{fill:var(--on)}
svg .count{fill:var(--soft)}
svg .grid{stroke:var(--line)}
svg .ideal{stroke:var(--soft);stroke-dasharray:5 4;stroke-width:1.5}
svg .whisker{stroke:var(--text)}
svg .said{stroke:var(--wrong);stroke-width:2.5}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:.8rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem}
.card>div{display:grid;grid-template-columns:1fr 1fr;gap:.7rem}
figure{margin:0;min-width:0}
figure img,.none{display:block;width:100%;aspect-ratio:1;border-radius:.3rem;background:var(--page)}
figure img{object-fit:contain}
.none{display:grid;place-items:center;text-align:center;padding:.5rem;color:var(--soft);
border:1px dashed var(--line)}
figcaption{font-size:.85rem;line-height:1.3;margin-top:.3rem}
figcaption small{display:block;overflow-wrap:anywhere}
.yes{color:var(--right)}.no{color:var(--wrong)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:34rem){th,td{padding:.3rem .3rem;font-size:.9rem}td.share{min-width:4.5rem}
.extra{display:none}}
"""


def page(evaluation: Evaluation) -> str:
    """Return the whole page; it reads the few photographs that it shows again, one at a time."""
    metrics = evaluation.metrics
    shown = most_confused(metrics.confusion, MAX_CLASSES_SHOWN)
    html = ET.Element("html", {"lang": "en"})
    _head(html, evaluation)
    main = add(add(html, "body"), "main")
    _header(main, evaluation)
    _class_section(main, metrics)
    _turn_section(main, evaluation.turns)
    _confusion_section(main, metrics, shown)
    _calibration_section(main, metrics)
    _gallery_section(main, evaluation, shown)
    _facts_section(main, evaluation)
    return "<!DOCTYPE html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def _head(html: ET.Element, evaluation: Evaluation) -> None:
    head = add(html, "head")
    add(head, "meta", None, {"charset": "utf-8"})
    add(head, "meta", None, {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    # The browser itself is told to fetch nothing.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    add(head, "meta", None, {"http-equiv": "Content-Security-Policy", "content": policy})
    add(head, "title", f"Evaluation of {printable(evaluation.model.name)}")
    add(head, "style", _STYLE)


def _header(main: ET.Element, evaluation: Evaluation) -> None:
    model, metrics = evaluation.model, evaluation.metrics
    add(main, "h1", f"Evaluation of {printable(model.name)}")
    classes = len(metrics.classes) - len(metrics.absent)
    of = f" of {evaluation.data.found}" if evaluation.data.limit is not None else ""
    what = f"{metrics.photographs}{of} photographs of {classes} classes in {evaluation.data.folder}"
    add(main, "p", printable(what), {"class": "soft"})
    low, high = metrics.interval
    gap = metrics.mean_confidence - metrics.accuracy
    tiles = add(main, "div", None, {"class": "tiles"})
    for figure, name, detail in (
        (percent(metrics.accuracy), "accuracy", f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"),
        (str(metrics.incorrect), "wrong", f"of {metrics.photographs} photographs"),
        (f"{metrics.macro_f1:.4f}", "macro F1", f"mean of {classes} classes"),
        (f"{metrics.ece:.4f}", "calibration error", f"ECE, {len(metrics.reliability)} bins"),
        (
            f"{metrics.mean_confidence:.4f}",
            "mean confidence",
            f"{100 * abs(gap):.1f} points {'above' if gap >= 0 else 'below'} accuracy",
        ),
        (f"{metrics.nll:.4f}", "negative log-likelihood", "nats, lower is better"),
    ):
        tile = add(tiles, "div", name, {"class": "tile"})
        add(tile, "b", figure)
        add(tile, "small", detail, {"class": "soft"})
    for note in note_lines(evaluation):
        add(main, "p", note[0].upper() + note[1:] + ".")


def _class_section(main: ET.Element, metrics: Metrics) -> None:
    add(main, "h2", "Classes")
    classes: Sequence[ClassFigures] = metrics.classes
    few = len(classes) <= MAX_CLASSES_SHOWN
    if not few:
        classes = sorted(classes, key=lambda c: 2.0 if c.accuracy is None else c.accuracy)
        add(
            main, "p", f"The {MAX_CLASSES_SHOWN} of the lowest accuracy; the others below.", {"class": "soft"}
        )
    body = _class_table(main, classes[:MAX_CLASSES_SHOWN])
    row = add(body, "tr", None, {"class": "all"})
    figures = (str(metrics.correct), str(metrics.incorrect))
    _class_cells(row, "all", figures, metrics.accuracy, ("", f"{metrics.macro_f1:.3f}"))
    if not few:
        rest = add(main, "details")
        add(rest, "summary", f"The other {len(classes) - MAX_CLASSES_SHOWN} classes")
        _class_table(rest, classes[MAX_CLASSES_SHOWN:])


def _class_table(parent: ET.Element, classes: Sequence[ClassFigures]) -> ET.Element:
    table = add(add(parent, "div", None, {"class": "scroll"}), "table")
    row = add(add(table, "thead"), "tr")
    for name in ("class", "correct", "incorrect", "accuracy"):
        add(row, "th", name)
    for name in ("precision", "F1"):
        add(row, "th", name, {"class": "extra"})
    body = add(table, "tbody")
    for c in classes:
        extra = ("-" if c.precision is None else f"{c.precision:.3f}", "-" if c.f1 is None else f"{c.f1:.3f}")
        _class_cells(add(body, "tr"), c.label, (str(c.correct), str(c.incorrect)), c.accuracy, extra)
    return body


def _class_cells(
    row: ET.Element, name: str, counts: Sequence[str], accuracy: float | None, extra: Sequence[str]
) -> None:
    for text in (name, *counts):
        add(row, "td", text)
    cell = add(row, "td", percent(accuracy), {"class": "share"})
    if accuracy is not None:
        bar = add(cell, "div", None, {"class": "bar"})
        add(bar, "i", None, {"style": f"width:{100 * accuracy:.1f}%"})
    for text in extra:
        add(row, "td", text, {"class": "extra"})


def _turn_section(main: ET.Element, report: TurnReport | None) -> None:
    if report is None or len(report.stripped.by_turn) == 1:
        return
    add(main, "h2", "Accuracy by turn")
    text = (
        f"The same {report.photographs} photographs, turned counter-clockwise: in a bin things lie as they "
        "fall. Quarter turns move pixels alone; at others the edges are filled with the picture mirrored."
    )
    add(main, "p", text, {"class": "soft"})
    head, *rows = turn_rows(report)
    table = add(add(main, "div", None, {"class": "scroll"}), "table")
    row = add(add(table, "thead"), "tr")
    for name in head:
        add(row, "th", name)
    body = add(table, "tbody")
    for i, cells in enumerate(rows):
        row = add(body, "tr", None, {"class": "all"} if i >= len(rows) - 2 else {})
        for cell in cells:
            add(row, "td", cell)


def _confusion_section(main: ET.Element, metrics: Metrics, shown: Sequence[int]) -> None:
    add(main, "h2", "Confusions")
    text = (
        "Rows: what it is. Columns: what it was taken for. "
        "The stronger the colour, the larger the share of the row."
    )
    if len(shown) < len(metrics.classes):
        text += (
            f" The {len(shown)} most confused of {len(metrics.classes)} classes; "
            "the last column counts what was taken for one of the others."
        )
    add(main, "p", text, {"class": "soft"})
    pair = add(main, "div", None, {"class": "pair"})
    add(pair, "div", None, {"class": "scroll"}).append(heat_map(metrics, shown))
    words = add(pair, "div", None, {"class": "words"})
    confusions = metrics.confusions
    if not confusions:
        add(words, "p", "Nothing was taken for something else.")
        return
    add(words, "p", f"Most frequent, of {metrics.incorrect} errors:")
    most = add(words, "ol")
    for c in confusions[:MAX_CONFUSIONS]:
        add(most, "li", f"{c.truth} \N{RIGHTWARDS ARROW} {c.predicted}: {c.count}")
    more = len(confusions) - MAX_CONFUSIONS
    if more > 0:
        add(words, "p", f"and {more} more pairs.", {"class": "soft"})


def _calibration_section(main: ET.Element, metrics: Metrics) -> None:
    add(main, "h2", "Calibration")
    pair = add(main, "div", None, {"class": "pair"})
    add(pair, "div", None, {"class": "scroll"}).append(reliability_diagram(metrics.reliability))
    words = add(pair, "div", None, {"class": "words"})
    for text in (
        "A calibrated model is right as often as its confidence, the probability of its answer, says: "
        "bars end on the dashed line.",
        "Bars: how often it is right, with Wilson's 95 % interval as a thin line. Short thick lines: the "
        "mean confidence of the bin; above its bar, the model is surer than it may be. Below: how many "
        "photographs the bin holds; where they are few, the bar says little.",
        f"Calibration error {metrics.ece:.4f}: the mean distance of bar and thick line over all photographs.",
    ):
        add(words, "p", text)
    add(words, "p", f"{CALIBRATION_SOURCE}.", {"class": "soft"})


def _gallery_section(main: ET.Element, evaluation: Evaluation, shown: Sequence[int]) -> None:
    add(main, "h2", "Best and worst photographs")
    text = "Of each class the photograph it is surest of and right, and the one it is surest of and wrong."
    if len(shown) < len(evaluation.model.labels):
        text += f" The {len(shown)} most confused classes."
    add(main, "p", text, {"class": "soft"})
    gallery = add(main, "div", None, {"class": "gallery"})
    for label in shown:
        if not evaluation.metrics.classes[label].photographs:
            continue
        card = add(gallery, "section", None, {"class": "card"})
        add(card, "h3", evaluation.model.labels[label])
        both = add(card, "div")
        for correct in (True, False):
            _figure(both, evaluation, evaluation.answers.surest(label, correct=correct), correct)


def _figure(parent: ET.Element, evaluation: Evaluation, row: int | None, correct: bool) -> None:
    figure = add(parent, "figure")
    if row is None:
        add(figure, "div", "none is right" if correct else "none is wrong", {"class": "none"})
        return
    answers, labels = evaluation.answers, evaluation.model.labels
    image, score = answers.images[row], float(answers.scores[row])
    taken = labels[int(answers.predicted[row])]
    source = _thumbnail(image.path)
    if source is None:
        add(figure, "div", "no longer there", {"class": "none"})
    else:
        add(figure, "img", None, {"src": source, "alt": f"{labels[image.label]}, taken for {taken}"})
    caption = add(figure, "figcaption")
    mark = "\N{CHECK MARK}" if correct else "\N{BALLOT X} taken for"
    add(caption, "span", f"{mark} {taken} {score:.3f}", {"class": "yes" if correct else "no"})
    add(caption, "small", printable(image.name))


def _thumbnail(path: Path) -> str | None:
    """Return a photograph as a data URI, its long side at most `THUMBNAIL`; None where it is gone."""
    try:
        frame = read_image(path)
    except ImageReadError:
        return None
    height, width = frame.shape[:2]
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _facts_section(main: ET.Element, evaluation: Evaluation) -> None:
    model, data = evaluation.model, evaluation.data
    add(main, "h2", "How it was measured")
    facts = add(main, "dl")
    mapping = ", ".join(f"{folder} = {label or 'skipped'}" for folder, label in (data.mapping or {}).items())
    chosen = "all" if data.limit is None else f"{data.limit} at most, evenly spread"
    for name, value in (
        ("bundle", model.bundle or "none, a lone model file"),
        ("artifact", model.artifact),
        ("sha256", model.sha256),
        ("engine", f"{model.engine}, threads: {model.threads}"),
        ("temperature", f"{model.temperature:g}"),
        ("processor", f"{model.cpu.model}, {model.cpu.arch}"),
        ("features", ", ".join(sorted(model.cpu.features & KERNEL_FEATURES)) or "unknown"),
        ("photographs", f"{chosen} of {data.found} in {data.folder}"),
        ("folders mapped", mapping or "none"),
    ):
        add(facts, "dt", name)
        add(facts, "dd", printable(value))
