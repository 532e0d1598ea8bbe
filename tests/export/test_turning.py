"""Accuracy by turn of what was exported."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.parity import turning
from ecovision_edge_export.parity.figures import Parity, budget_for
from ecovision_edge_export.photographs.dataset import Photograph, PhotographSet
from ecovision_edge_export.transcript import Reporter, Transcript


class Top:
    """Answers 1 where the picture's upper half is the brighter one, else 0."""

    def __init__(self, *_: object, **__: object) -> None:
        self.index = 0

    def classify(self, frame: np.ndarray) -> Top:
        half = len(frame) // 2
        answer = Top()
        answer.index = int(frame[:half].mean() > frame[half:].mean())
        return answer


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhotographSet:
    """Eight photographs that are brighter above, and a model that sees it."""
    monkeypatch.setattr(turning, "Classifier", Top)
    monkeypatch.setattr(Made, "backend", lambda _: None)
    photographs = []
    for i in range(8):
        picture = draw_frame(i, 64, 48) // 4
        picture[:24] += 150
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), picture)
        photographs.append(Photograph(path, path.name, 1))
    return PhotographSet(tuple(photographs))


def parity() -> Parity:
    return Parity("int8-onnx", "photographs", 8, 8, 8, 0, 0, 0, 8, (), None, budget_for("int8"))


MADE = [Made("int8", "onnx", b"")]


def test_each_artifact_gets_its_accuracy_by_turn(judged: PhotographSet) -> None:
    """Upright right, upside down wrong; a stage of its own says so."""
    script = Transcript(Reporter())
    (turned,) = turning.measure_turned(MADE, (parity(),), judged, script)
    assert turned.turns is not None
    assert turned.turns.stripped.upright.accuracy == 1
    assert turned.turns.stripped.by_turn[2].accuracy == 0
    assert turned.turns.stripped.worst.accuracy == 0
    (stage,) = script.to_json()["stages"]  # type: ignore[misc,union-attr]
    assert stage["stage"] == "turn"  # type: ignore[index,call-overload]
    assert "100.0 % upright" in stage["found"]  # type: ignore[index,call-overload,operator]


def test_of_many_photographs_some_are_turned(judged: PhotographSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly spread, and the report says how many."""
    monkeypatch.setattr(turning, "MOST_TURNED", 3)
    (turned,) = turning.measure_turned(MADE, (parity(),), judged, Transcript(Reporter()))
    assert turned.turns is not None
    assert turned.turns.photographs == 3


def test_without_labelled_photographs_nothing_is_measured(judged: PhotographSet) -> None:
    """Nor is there a stage."""
    script = Transcript(Reporter())
    flat = PhotographSet(tuple(Photograph(p.path, p.name, None) for p in judged.photographs))
    for val in (None, flat):
        assert turning.measure_turned(MADE, (parity(),), val, script) == (parity(),)
    assert script.to_json()["stages"] == []
