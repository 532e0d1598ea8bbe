"""What the demo page says, as HTML: the words are in `answer.html`, and every value in them is escaped."""

from __future__ import annotations

import functools
import html
import math
from typing import TYPE_CHECKING

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.demo.pictures import data_url, gradient
from ecovision_edge.demo.session import Choice, Look, Where

if TYPE_CHECKING:
    from jinja2.environment import TemplateModule

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


@functools.cache
def _template() -> TemplateModule:
    """Return the macros of `answer.html`; Gradio brings Jinja."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def escaped(value: object) -> Markup:
        """Escape as the standard library does, whose entities have names."""
        return value if isinstance(value, Markup) else Markup(html.escape(str(value)))  # noqa: S704

    environment = Environment(
        loader=PackageLoader("ecovision_edge.demo", ""),
        autoescape=True,
        finalize=escaped,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["percent"] = _percent
    return environment.get_template("answer.html").module


def _render(macro: str, *values: object) -> str:
    return str(getattr(_template(), macro)(*values))


def header_html(name: str) -> str:
    """Return the title, and what becomes of pictures."""
    return _render("header", name)


def artifacts_html(choices: tuple[Choice, ...]) -> str:
    """Return the artifacts that cannot be run here, with the reasons; empty where all can."""
    left_out = [choice for choice in choices if choice.classifier is None]
    return _render("artifacts", left_out) if left_out else ""


def nothing_html() -> str:
    """Return what stands there before the first picture."""
    return _render("nothing")


def webcam_html() -> str:
    """Return how the webcam is begun, and why it may not."""
    return _render("webcam")


def error_html(message: str) -> str:
    """Return a picture that cannot be used, in one line."""
    return _render("error", message)


def answer_html(look: Look, top: int, contract: Contract, machine: str) -> str:
    """Return the label, bars of the `top` most probable classes, times, and what the figures are worth.

    Args:
        look: The answer.
        top: How many bars, at least 1.
        contract: Contract of the model.
        machine: What this machine is called.
    """
    shares = look.prediction.probabilities
    ranked = sorted(range(len(look.labels)), key=lambda i: -shares[i])[:top]
    rest = max(0.0, 1 - sum(shares[i] for i in ranked))
    return _render("answer", look, ranked, rest, contract, machine)


def seen_html(look: Look | None) -> str:
    """Return what the network sees."""
    if look is None:
        return _render("blank", "What the network sees", "no picture yet")
    height, width = look.seen.shape[:2]
    return _render("seen", data_url(look.seen), width, height)


def nowhere_html(message: str = "") -> tuple[str, str]:
    """Return the map's place and its legend where there is none; `message` says why it could not be made."""
    return _render("blank", "Where it looked", "not asked yet"), _render("sorry", message) if message else ""


def where_html(where: Where) -> tuple[str, str]:
    """Return the map over the picture; its legend, and how it came about."""
    height, width = where.picture.shape[:2]
    strongest = where.occlusion.strongest
    if strongest >= _DECIDES:
        found = f"where it mattered most, its odds fell to {_fall(strongest)}."
    elif strongest > 0:
        found = f"no place alone decides; at the most, its odds fell to {_fall(strongest)}."
    else:
        found = "wherever the patch was, it stayed as sure."
    figure = _render("map", where, data_url(where.picture), width, height)
    return figure, _render("legend", where, gradient(), found)


def spoken_html(look: Look) -> str:
    """Return the answer in a few words, for a screen reader."""
    return _render("spoken", look)


def _percent(share: float) -> str:
    """Write whole percents, but never 0 or 100 for what is neither."""
    if math.isnan(share):
        return "\N{EN DASH}"
    if 0 < share < 0.005:
        return "< 1 %"
    if 0.995 <= share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def _fall(drop: float) -> str:
    """Write exp(-drop) as a fraction."""
    times = math.exp(min(drop, 700))
    if times < 1.05:
        return "hardly less"
    if times < 10:
        return f"1/{times:.2g}"
    return f"1/{times:.0f}" if times < 1000 else "less than 1/1000"
