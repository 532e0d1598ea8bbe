"""What a model card says of a calibration: the part of it that `calibrate` rewrites."""

from __future__ import annotations

from ecovision_edge.base.markdown import plain, replace_section, section, table
from ecovision_edge.calibration.figures import Calibration
from ecovision_edge.calibration.text import class_rows, kept_by_views, view_rows

__all__ = ["renewed_card", "unfitted_section"]

_NAME = "calibration"


def unfitted_section() -> list[str]:
    """Return the section that the exporter writes: nothing was fitted yet."""
    return section(
        _NAME,
        [
            "Temperature 1, no thresholds: nothing was fitted. To photographs of the bin, one folder per "
            "class, `ecovision-edge calibrate . --data PHOTOGRAPHS --out CALIBRATED` fits both, and writes a "
            "bundle with them.",
        ],
    )


def renewed_card(card: bytes, result: Calibration, before: float, artifact: str | None) -> bytes:
    """Put what was fitted into the card's section; a card without that section stays as it is.

    Args:
        card: A model card, or anything else.
        result: What was fitted.
        before: The temperature that was there.
        artifact: Whose answers it was fitted to, None where nobody said.
    """
    return replace_section(card, _NAME, _fitted(result, before, artifact))


def _fitted(result: Calibration, before: float, artifact: str | None) -> list[str]:
    options, kept = result.options, result.fitted_coverage
    how = "fitted" if result.fitted else "kept: these photographs set none"
    whose = f" by the answers of {plain(artifact)}" if artifact else ""
    strange = f", and {result.unknown} of no class" if result.unknown else ""
    wrong = "" if kept.risk is None else f", of which {kept.wrong} wrong ({kept.risk:.1%})"
    head, *rows = class_rows(result)
    return [
        f"Temperature {result.temperature:g} ({how}; {before:g} before) and thresholds by class, set{whose} "
        f"for every model here, on {result.photographs} photographs{strange}. {result.correct} of them "
        f"({result.correct / result.photographs:.2%}) were called what they are.",
        "",
        *table(
            [
                ["", "before", "after, held out"],
                ["expected calibration error", f"{result.ece_before:.4f}", f"{result.ece_after:.4f}"],
                ["negative log-likelihood, nats", f"{result.nll_before:.4f}", f"{result.nll_after:.4f}"],
            ]
        ),
        "",
        f"Held out: each of {options.folds} parts of the photographs judged by what the others set. At or "
        f"above its threshold at most {options.max_error:.1%} of a class's predictions are to be wrong, at a "
        f"confidence of {options.confidence:.0%} (Clopper and Pearson). Kept, held out: {kept.kept} of "
        f"{kept.photographs} ({kept.coverage:.1%}){wrong}.",
        "",
        *table([head, *([plain(row[0]), *row[1:]] for row in rows)]),
        *_views(result),
    ]


def _views(result: Calibration) -> list[str]:
    if result.views is None:
        return []
    return [
        "",
        "A bin looks at the frames of one item in several views, one after the other. Together, held out:",
        "",
        *table(view_rows(result.views)),
        "",
        f"{kept_by_views(result.views)} A view is worth as many as it adds independent ones.",
    ]
