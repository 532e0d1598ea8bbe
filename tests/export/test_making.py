"""Which models an export makes of several targets: converter, trials and gate only say what they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from ecovision_edge.bundle.targets import Target
from ecovision_edge_export import making
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.int8.fidelity import Fidelity
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.stage import Recipes
from ecovision_edge_export.int8.table import CalibrationTable
from ecovision_edge_export.making import ExportRun, make_artifacts
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity.figures import GateClosedError
from ecovision_edge_export.tflite import choose, convert, flatbuffer
from ecovision_edge_export.tflite.choose import TfliteTrial
from ecovision_edge_export.transcript import Reporter, Transcript

Blocks = dict[Target, Sequence[int]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`run(blocks, refused)`: artifacts by name with their bytes and recipe; what each gate was asked."""

    def make(blocks: Blocks, refused: Sequence[str] = ()) -> tuple[dict[str, Made], list[list[str]]]:
        asked: list[list[str]] = []

        def trials(*_: object, target: Target, **__: object) -> Iterator[TfliteTrial]:
            for number in blocks[target]:
                half = target == "arm64-fp16"
                yield TfliteTrial(
                    Recipe(fp32_blocks=number), f"{number}{half}".encode(), Fidelity(1.0, 1.0, 30.0), (), half
                )

        def gate(options: object, baseline: object, made: Sequence[Made], *_: object) -> tuple[Any, ...]:
            asked.append([f"{m.name} {m.data.decode()}" for m in made])
            bad = [m for m in made if m.data.decode() in refused]
            if bad:
                failed = SimpleNamespace(artifact=bad[0].name, ok=False, failures=lambda: ("agreement",))
                raise GateClosedError("parity failed", (failed,), {}, found="it", fix="none")  # type: ignore[arg-type]
            return tuple(SimpleNamespace(artifact=m.name) for m in made)

        monkeypatch.setattr(convert, "convert", lambda *_: b"")
        monkeypatch.setattr(flatbuffer, "finish", lambda *_: b"fp32")
        monkeypatch.setattr(choose, "open_once", lambda _: None)
        monkeypatch.setattr(choose, "tflite_trials", trials)
        monkeypatch.setattr(making, "pass_gate", gate)
        monkeypatch.setattr(making, "compare_speed", lambda *_: ())
        table = CalibrationTable({}, 1, "0" * 64, "generated")
        recipes = {target: Recipes((table,), (), searched=True) for target in blocks}
        options = ExportOptions("x", formats=("tflite",), target=",".join(blocks))
        script = Transcript(Reporter())
        nothing: Any = None
        made, parity = make_artifacts(ExportRun(options, nothing, nothing, recipes, nothing, None, script))
        assert [m.name for m in made] == [p.artifact for p in parity]
        return {m.name: m for m in made}, asked

    return make


def test_one_model_serves_the_targets_that_lose_little_by_it(run: Any) -> None:
    """The name has no target, and the recipe says whom it serves."""
    made, asked = run({"arm64": [1], "arm64-dotprod": [0, 1]})
    assert list(made) == ["fp32-tflite", "int8-tflite"]
    assert (made["int8-tflite"].data, made["int8-tflite"].targets) == (b"0False", ())
    assert made["int8-tflite"].recipe["serves"] == ["arm64 (+0.5 % of cost)"]
    assert asked == [["fp32-tflite fp32", "int8-tflite 0False"]]


def test_each_of_the_others_has_its_own(run: Any) -> None:
    """Beside one fp32, which is judged once; files and names tell them apart."""
    made, asked = run({"arm64-dotprod": [1], "arm64-fp16": [1], "arm64": [1]})
    assert {name: m.targets for name, m in made.items()} == {
        "fp32-tflite": (),
        "int8-tflite@arm64": ("arm64", "arm64-dotprod"),
        "int8-tflite@arm64-fp16": ("arm64-fp16",),
    }
    assert {m.file for m in made.values()} == {
        "model.fp32.tflite",
        "model.int8.arm64.tflite",
        "model.int8.arm64-fp16.tflite",
    }
    assert len({name for names in asked for name in names}) == sum(map(len, asked))


def test_what_the_gate_refuses_gives_way_to_the_next_of_the_same_target(run: Any) -> None:
    """Of what was asked to decide about sharing nothing is made again."""
    made, asked = run({"arm64": [1, 2], "arm64-fp16": [1, 2]}, refused=["1True"])
    assert made["int8-tflite@arm64"].data == b"1False"
    assert made["int8-tflite@arm64-fp16"].data == b"2True"
    assert asked == [
        ["fp32-tflite fp32", "int8-tflite@arm64 1False"],
        ["int8-tflite@arm64-fp16 1True"],
        ["int8-tflite@arm64-fp16 2True"],
    ]


def test_where_nothing_is_let_through_nothing_is_made(run: Any) -> None:
    with pytest.raises(GateClosedError):
        run({"arm64": [1, 2], "arm64-fp16": [1]}, refused=["1False", "2False"])
