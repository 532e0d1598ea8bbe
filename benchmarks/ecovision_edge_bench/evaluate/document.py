"""The evaluation as JSON, versioned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ecovision_edge.base.device import KERNEL_FEATURES
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.version import __version__
from ecovision_edge_bench.evaluate.metrics import CALIBRATION_SOURCE, Metrics
from ecovision_edge_bench.evaluate.run import Answers, Evaluation

__all__ = ["SCHEMA", "SCHEMA_VERSION", "json_chunks"]

SCHEMA = "ecovision-edge/eval"
SCHEMA_VERSION = 1


def json_chunks(evaluation: Evaluation) -> Iterator[bytes]:
    """Give the document piece by piece, UTF-8; images, classes and rows of the matrix each on one line.

    Probabilities are in the order of `labels`, rounded to 6 decimals; all other figures are as computed.
    """
    yield b"{"
    for i, (key, value) in enumerate(_head(evaluation).items()):
        text = f"{',' if i else ''}\n  {json.dumps(key)}: "
        if isinstance(value, list) and value and isinstance(value[0], (list, dict)):
            text += "[\n" + ",\n".join(f"    {_dumps(item)}" for item in value) + "\n  ]"
        else:
            text += _dumps(value)
        yield text.encode()
    yield b',\n  "images": ['
    for i, row in enumerate(_images(evaluation.answers, evaluation.model.labels)):
        yield f"{',' if i else ''}\n    {_dumps(row)}".encode()
    yield b"\n  ]\n}\n"


def _head(evaluation: Evaluation) -> dict[str, JsonValue]:
    model, data, answers, metrics = (
        evaluation.model,
        evaluation.data,
        evaluation.answers,
        evaluation.metrics,
    )
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "ecovision_edge": __version__,
        "bundle": model.bundle,
        "artifact": model.artifact,
        "precision": model.precision,
        "model_sha256": model.sha256,
        "engine": model.engine,
        "threads": model.threads,
        "temperature": model.temperature,
        "machine": {
            "arch": model.cpu.arch,
            "cpu": model.cpu.model,
            "cpu_features": [*sorted(model.cpu.features & KERNEL_FEATURES)],
            "u8s8_saturates": model.cpu.u8s8_saturates,
        },
        "data": {
            "folder": _text(str(data.folder)),
            "found": data.found,
            "limit": data.limit,
            "map": {_text(folder): label for folder, label in (data.mapping or {}).items()},
            "whole": data.whole,
            "skipped": {_text(folder): count for folder, count in data.skipped},
        },
        "labels": [*model.labels],
        "photographs": metrics.photographs,
        "correct": metrics.correct,
        "incorrect": metrics.incorrect,
        "accuracy": metrics.accuracy,
        "accuracy_wilson_95": [*metrics.interval],
        "macro_f1": metrics.macro_f1,
        "without_photographs": [*metrics.absent],
        "mean_confidence": metrics.mean_confidence,
        "nll": metrics.nll,
        "ece": metrics.ece,
        "ece_source": CALIBRATION_SOURCE,
        "classes": _classes(metrics),
        "confusion": [*metrics.confusion.tolist()],
        "reliability": _reliability(metrics),
        "turns": None if evaluation.turns is None else evaluation.turns.to_json(),
        "failed": [{"image": _text(f.name), "reason": f.reason} for f in answers.failures],
    }


def _classes(metrics: Metrics) -> list[JsonValue]:
    return [
        {
            "label": c.label,
            "photographs": c.photographs,
            "correct": c.correct,
            "incorrect": c.incorrect,
            "predicted": c.predicted,
            "accuracy": c.accuracy,
            "accuracy_wilson_95": [*c.interval],
            "precision": c.precision,
            "f1": c.f1,
        }
        for c in metrics.classes
    ]


def _reliability(metrics: Metrics) -> list[JsonValue]:
    return [
        {
            "low": b.low,
            "high": b.high,
            "count": b.count,
            "correct": b.correct,
            "confidence": b.confidence,
            "accuracy": b.accuracy,
        }
        for b in metrics.reliability
    ]


def _images(answers: Answers, labels: tuple[str, ...]) -> Iterator[Mapping[str, JsonValue]]:
    for i, image in enumerate(answers.images):
        row = [round(p, 6) for p in answers.probabilities[i].tolist()]
        predicted = int(answers.predicted[i])
        yield {
            "image": _text(image.name),
            "truth": labels[image.label],
            "predicted": labels[predicted],
            "score": row[predicted],
            "probabilities": [*row],
        }


def _text(name: str) -> str:
    """Return a file's name as text that JSON can carry, whatever its bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _dumps(value: JsonValue | Mapping[str, JsonValue]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
