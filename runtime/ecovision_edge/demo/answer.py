"""What the demo page says, as HTML; every word that comes from a bundle or a file is escaped."""

from __future__ import annotations

import math
from html import escape

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.demo.desk import Choice, Look, Where
from ecovision_edge.demo.pictures import data_url, gradient

__all__ = [
    "answer_html",
    "artifacts_html",
    "error_html",
    "header_html",
    "nothing_html",
    "nowhere_html",
    "seen_html",
    "spoken_html",
    "webcam_html",
    "where_html",
]

_DECIDES = math.log(2)  # half the odds


def header_html(name: str) -> str:
    """Return the title, and what becomes of pictures."""
    return (
        '<header class="eco-head"><h1>ecovision-edge</h1>'
        f'<p class="eco-name">Trying the bundle <b>{escape(name)}</b></p>'
        '<p class="eco-private">Runs on this machine alone. Pictures go to no other one, and are gone when '
        "the program ends.</p></header>"
    )


def artifacts_html(choices: tuple[Choice, ...]) -> str:
    """Return the artifacts that cannot be run here, with the reasons; empty where all can."""
    rows = [f"<li><b>{escape(c.name)}</b> {escape(c.reason)}</li>" for c in choices if c.classifier is None]
    if not rows:
        return ""
    return f'<div class="eco-cannot"><p>Not to be run here:</p><ul>{"".join(rows)}</ul></div>'


def nothing_html() -> str:
    """Return what stands there before the first picture."""
    return (
        '<div class="eco-card eco-empty"><p class="eco-label">No picture yet</p>'
        "<p>Upload or paste one, take an example, or start the webcam.</p></div>"
    )


def webcam_html() -> str:
    """Return how the webcam is begun, and why it may not."""
    return (
        '<p class="eco-hint">Allow the camera, then press <b>Record</b>: each frame is classified until you '
        "stop. If no picture comes, no camera is connected, another program has it, or the browser does not "
        "allow it to this page.</p>"
    )


def error_html(message: str) -> str:
    """Return a picture that cannot be used, in one line."""
    return (
        '<div class="eco-card eco-error" role="alert"><p class="eco-label">This picture cannot be used</p>'
        f"<p>{escape(message)}</p></div>"
    )


def answer_html(look: Look, top: int, contract: Contract, machine: str) -> str:
    """Return the label, bars of the `top` most probable classes, times, and what the figures are worth.

    Args:
        look: The answer.
        top: How many bars, at least 1.
        contract: Contract of the model.
        machine: What this machine is called.
    """
    p = look.prediction
    ranked = sorted(range(len(look.labels)), key=lambda i: -p.probabilities[i])[:top]
    bars = "".join(_bar(look.labels[i], p.probabilities[i], first=i == ranked[0]) for i in ranked)
    headline = "Unknown" if look.unknown else _upper(p.label)
    score = "" if look.unknown else f'<span class="eco-score">{_percent(p.score)}</span>'
    return (
        f'<section class="eco-card eco-answer{" eco-unknown" if look.unknown else ""}" aria-label="Answer">'
        f'<p class="eco-caption">{_caption(look)}</p>'
        f'<p class="eco-label"><span class="eco-word">{escape(headline)}</span>{score}</p>'
        f'<ol class="eco-bars" aria-label="Most probable classes">{bars}</ol>'
        f"{_rest(look, ranked)}{_figures(look)}{_small_print(look, contract, machine)}</section>"
    )


def seen_html(look: Look | None) -> str:
    """Return what the network sees."""
    title = "What the network sees"
    if look is None:
        return _figure(title, _blank("no picture yet"))
    height, width = look.seen.shape[:2]
    alt = f"The picture as the network gets it, {width} by {height} pixels"
    picture = f'<img src="{data_url(look.seen)}" alt="{alt}" width="{width}" height="{height}">'
    return _figure(title, picture, f"{width} &times; {height} pixels")


def nowhere_html(message: str = "") -> tuple[str, str]:
    """Return the map's place and its legend where there is none; `message` says why it could not be made."""
    words = f'<p class="eco-legend eco-sorry" role="alert">{escape(message)}</p>' if message else ""
    return _figure("Where it looked", _blank("not asked yet")), words


def where_html(where: Where) -> tuple[str, str]:
    """Return the map over the picture; its legend, and how it came about."""
    o = where.occlusion
    label, artifact = escape(where.label), escape(where.artifact)
    height, width = where.picture.shape[:2]
    alt = f"Where {artifact} looked for {label}: the brighter a place, the more it mattered"
    picture = f'<img src="{data_url(where.picture)}" alt="{alt}" width="{width}" height="{height}">'
    if o.strongest >= _DECIDES:
        found = f"where it mattered most, its odds fell to {_fall(o.strongest)}."
    elif o.strongest > 0:
        found = f"no place alone decides; at the most, its odds fell to {_fall(o.strongest)}."
    else:
        found = "wherever the patch was, it stayed as sure."
    legend = (
        f'<div class="eco-legend"><span class="eco-scale" style="background:{gradient()}"></span>'
        '<span class="eco-ends"><span>covering it changes nothing</span>'
        "<span>covering it matters most</span></span>"
        f"<p>A grey patch of {o.patch[1]} &times; {o.patch[0]} pixels was slid over what the network sees, "
        f"and <b>{label}</b> asked for each time: {found} {o.runs} runs of {artifact} in {o.seconds:.1f} s."
        "</p></div>"
    )
    return _figure("Where it looked", picture, f"for <b>{label}</b>, {artifact}"), legend


def spoken_html(look: Look) -> str:
    """Return the answer in a few words, for a screen reader."""
    if look.unknown:
        return "Unknown"
    return f"{escape(look.prediction.label)}, {_percent(look.prediction.score)}"


def _caption(look: Look) -> str:
    p = look.prediction
    if look.unknown and look.threshold is not None:
        return (
            f"Most likely <b>{escape(p.label)}</b>, but {_percent(p.score)} is below its threshold of "
            f"{_percent(look.threshold)}"
        )
    if p.score < 0.5:
        return f"{escape(look.artifact)} is unsure: more likely something else than"
    return f"{escape(look.artifact)} says"


def _bar(label: str, probability: float, *, first: bool) -> str:
    return (
        f'<li{" class=eco-first" if first else ""}><span class="eco-class">{escape(label)}</span>'
        '<span class="eco-track">'
        f'<span class="eco-fill" style="width:{100 * probability:.2f}%"></span></span>'
        f'<span class="eco-value">{_percent(probability)}</span></li>'
    )


def _rest(look: Look, ranked: list[int]) -> str:
    others = len(look.labels) - len(ranked)
    if others == 0:
        return ""
    left = max(0.0, 1 - sum(look.prediction.probabilities[i] for i in ranked))
    classes = "The other class has" if others == 1 else f"The other {others} classes have"
    return f'<p class="eco-rest">{classes} {_percent(left)}{"" if others == 1 else " together"}.</p>'


def _figures(look: Look) -> str:
    t = look.prediction.timings
    pairs = (
        ("Prepare", f"{t.prepare_ms:.1f} ms"),
        ("Network", f"{t.infer_ms:.1f} ms"),
        ("Picture", f"{look.size[0]} &times; {look.size[1]}"),
    )
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<dl class="eco-times">{rows}</dl>'


def _small_print(look: Look, contract: Contract, machine: str) -> str:
    threads = f"{look.threads} thread{'' if look.threads == 1 else 's'}"
    times = (
        f"Times are of this one picture on this machine ({escape(machine)}; {escape(look.engine)}, "
        f"{threads}), without decoding the file."
    )
    if contract.temperature == 1 and look.threshold is None:
        worth = (
            "The bundle is not calibrated: the percentages are as the network gives them, and nothing is "
            "ever called unknown."
        )
    else:
        worth = f"The percentages are calibrated, temperature {contract.temperature:.3g}"
        worth += "; thresholds are the bundle's." if look.threshold is not None else ", without thresholds."
    return f'<p class="eco-small">{times} {worth} An empty tray gets a label too.</p>'


def _figure(title: str, picture: str, text: str = "") -> str:
    return (
        f'<figure class="eco-figure"><figcaption class="eco-title">{title}</figcaption>{picture}'
        f'<p class="eco-text">{text}</p></figure>'
    )


def _blank(text: str) -> str:
    return f'<div class="eco-blank">{text}</div>'


def _upper(label: str) -> str:
    return label[:1].upper() + label[1:]


def _percent(share: float) -> str:
    """Write whole percents, as HTML, but never 0 or 100 for what is neither."""
    if math.isnan(share):
        return "\N{EN DASH}"
    if 0 < share < 0.005:
        return "&lt; 1 %"
    if 0.995 <= share < 1:
        return "&gt; 99 %"
    return f"{100 * share:.0f} %"


def _fall(drop: float) -> str:
    """Write exp(-drop) as a fraction."""
    times = math.exp(min(drop, 700))
    if times < 1.05:
        return "hardly less"
    if times < 10:
        return f"1/{times:.2g}"
    return f"1/{times:.0f}" if times < 1000 else "less than 1/1000"
