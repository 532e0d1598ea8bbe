"""The parity gate's figures, and its judgement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from ecovision_edge import Classifier
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import CheckpointError, ImageReadError, OptionError
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.card.measured import parity_lines
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.figures import Accuracy, Budget, Parity, budget_for
from ecovision_edge_export.parity.measure import Half, measure_parity
from ecovision_edge_export.parity.recheck import recheck_parity
from ecovision_edge_export.parity.tables import parity_rows
from ecovision_edge_export.photographs.dataset import list_photographs
from ecovision_edge_export.pipeline import ExportResult
from ecovision_edge_export.weights.checkpoint import Checkpoint

pytestmark = pytest.mark.slow


class Distorted:
    """A backend that runs another one and changes its logits."""

    def __init__(self, inner: Classifier, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
        self._inner, self._change, self._calls = inner.backend, change, 0
        self.engine, self.contract, self.threads = "distorted", inner.contract, 1

    def run(self, batch: np.ndarray) -> np.ndarray:
        """The other's logits, changed; the change is told how many runs there were."""
        self._calls += 1
        return self._change(self._inner.run(batch), self._calls - 1)


@pytest.fixture(scope="module")
def fp32(exported: ExportResult) -> Classifier:
    """The exported fp32 artifact."""
    return Classifier.load(exported.path, artifact="fp32")


@pytest.fixture(scope="module")
def baseline(reference: Checkpoint, contract: Contract) -> TorchBaseline:
    """PyTorch with the reference."""
    return TorchBaseline(reference, contract)


@pytest.fixture
def labelled(tmp_path: Path, contract: Contract) -> Path:
    """Ten drawn images, one in each class's folder, PNG so that both sides decode the same pixels."""
    for i, label in enumerate(contract.labels):
        (tmp_path / label).mkdir()
        cv2.imwrite(str(tmp_path / label / f"{i}.png"), draw_frame(i))
    return tmp_path


def measure(
    baseline: TorchBaseline, classifiers: Mapping[str, Classifier], folder: Path, labels: tuple[str, ...]
) -> tuple[Parity, ...]:
    """Parity on a folder with the fp32 budget."""
    photographs = list_photographs(folder, labels, "--val")
    judged = {n: (c, budget_for("fp32")) for n, c in classifiers.items()}
    return measure_parity(baseline, judged, photographs)


def test_an_equal_model_passes(baseline: TorchBaseline, fp32: Classifier, labelled: Path) -> None:
    """The exported fp32 model has no flip, and the same accuracy."""
    (parity,) = measure(baseline, {"fp32": fp32}, labelled, fp32.labels)
    assert parity.ok
    assert parity.flips == ()
    assert parity.agreement == 1
    assert parity.max_dlogit < 1e-3
    assert parity.accuracy is not None
    assert parity.accuracy.torch_correct == parity.accuracy.artifact_correct
    assert parity.accuracy.p == 1


def test_every_flip_is_named(baseline: TorchBaseline, fp32: Classifier, labelled: Path) -> None:
    """Two rows of reversed logits are two flips by file name, and the gate closes."""
    bad = Classifier(Distorted(fp32, lambda x, i: -x if i in (2, 7) else x), artifact="bad")
    good, parity = measure(baseline, {"fp32": fp32, "bad": bad}, labelled, fp32.labels)
    assert good.ok
    assert [f.image for f in parity.flips] == ["cardboard/2.png", "plastic/7.png"]
    assert parity.flips[0].truth == "cardboard"
    assert parity.agreed == 8
    assert parity.max_dp > good.max_dp
    assert not parity.ok
    assert "agreement: expected >= 99.8 %, found 80.00 % (2 of 10 flipped)" in parity.failures()[0]


def test_a_shift_of_logits_that_flips_nothing_is_found(
    baseline: TorchBaseline, fp32: Classifier, labelled: Path
) -> None:
    """The same top-1 with logits off by 0.01 fails the fp32 budget on identical inputs."""
    off = Classifier(Distorted(fp32, lambda x, i: x + np.float32(0.01)), artifact="off")
    (parity,) = measure(baseline, {"off": off}, labelled, fp32.labels)
    assert parity.agreement == 1
    assert parity.max_dlogit == pytest.approx(0.01, rel=0.01)
    assert [f.split(":")[0] for f in parity.failures()] == ["max |dlogit| on identical inputs"]


@pytest.mark.parametrize("gated", [True, False])
def test_fp16_is_measured_beside_the_artifact(
    baseline: TorchBaseline, fp32: Classifier, labelled: Path, gated: bool
) -> None:
    """How far it moves a logit, and its own agreement; a budget that it misses counts where it is gated."""

    def turned(logits: np.ndarray, number: int) -> np.ndarray:
        return logits + 0.25 if number else np.flip(logits, 1)

    photographs = list_photographs(labelled, fp32.labels, "--val")
    half = Half(Classifier(Distorted(fp32, turned), artifact="x"), budget_for("int8"), "somehow", gated)
    judged = {"fp32": (fp32, budget_for("fp32"))}
    (parity,) = measure_parity(baseline, judged, photographs, halves={"fp32": half})
    assert parity.half is not None
    assert parity.flips == ()
    assert (parity.half.parity.artifact, parity.half.parity.agreed) == ("fp32 in fp16", 9)
    assert parity.half.moved > 0.25
    assert parity.ok == (not gated)
    assert [f.startswith("in fp16, agreement") for f in parity.failures()][:1] == [True] * gated
    told = parity.summary()["fp16"]
    assert isinstance(told, dict)
    assert (told["how"], told["agreed"]) == ("somehow", 9)
    rows = {row[0]: row[2] for row in parity_rows((parity,))}
    assert rows["in fp16: top-1 agreement"] == "90.00 % of 10"
    assert "In fp16: what the model computes in fp32" in "\n".join(parity_lines((parity,)))
    bare = dataclasses.replace(parity, half=None)
    assert not any("fp16" in row[0] for row in parity_rows((bare,)))


def test_generated_images_are_weak_evidence_and_say_so(
    baseline: TorchBaseline, fp32: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without photographs only drawings that PyTorch is firm on are judged."""
    monkeypatch.setattr("ecovision_edge_export.parity.measure.GENERATED_IMAGES", 32)
    (parity,) = measure_parity(baseline, {"fp32": (fp32, budget_for("fp32"))}, None)
    assert parity.evidence == "generated"
    assert parity.accuracy is None
    assert 10 < parity.judged < parity.images
    assert parity.ok


def test_a_file_that_is_no_image_ends_the_measurement(
    baseline: TorchBaseline, fp32: Classifier, labelled: Path
) -> None:
    """Nothing is passed over silently."""
    (labelled / "glass" / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ImageReadError, match=r"broken\.jpg"):
        measure(baseline, {"fp32": fp32}, labelled, fp32.labels)


def test_an_image_on_its_side_is_turned_on_both_sides(
    baseline: TorchBaseline, fp32: Classifier, tmp_path: Path
) -> None:
    """EXIF orientation means the same to PyTorch's path and to the runtime's."""
    from PIL import Image

    image = Image.fromarray(draw_frame(5)[..., ::-1].copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    (parity,) = measure(baseline, {"fp32": fp32}, tmp_path, fp32.labels)
    assert parity.max_dp < 1e-3


def figures(**changes: object) -> Parity:
    """A parity result made by hand."""
    values: dict[str, object] = {
        "artifact": "int8-onnx",
        "evidence": "photographs",
        "images": 200,
        "judged": 200,
        "agreed": 197,
        "max_dp": 0.2,
        "mean_dp": 0.01,
        "max_dlogit": 0.5,
        "tensors": 200,
        "flips": (),
        "accuracy": Accuracy(200, 180, 179, 2, 1),
        "budget": budget_for("int8"),
    }
    return Parity(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({}, True),
        ({"agreed": 196}, True),
        ({"agreed": 195}, False),
        ({"accuracy": Accuracy(200, 180, 178, 3, 1)}, False),
        ({"accuracy": Accuracy(200, 180, 190, 0, 10)}, True),
        ({"accuracy": None}, True),
        ({"judged": 0, "agreed": 0}, False),
        ({"budget": Budget(0.9, None, 1e-3)}, False),
        ({"budget": Budget(0.9, None, 1e-3), "max_dlogit": float("nan")}, False),
    ],
)
def test_the_budget_is_judged_at_its_edge(changes: dict[str, object], ok: bool) -> None:
    """98 % is enough; half a point may be lost; nothing judged is nothing proved."""
    assert figures(**changes).ok is ok


def test_the_table_has_all_figures() -> None:
    """Agreement, flips, probabilities, logits, accuracy with Wilson's interval, McNemar's p."""
    rows = {row[0]: row[1:] for row in parity_rows([figures()])}
    assert rows[""] == ["PyTorch", "int8-onnx"]
    assert rows["top-1 agreement"][1] == "98.50 % of 200"
    assert rows["accuracy"] == ["90.00 %", "89.50 %"]
    assert rows["Wilson 95 %"][0] == "85.1 to 93.4 %"
    assert rows["McNemar p"][1] == "1.00"


def test_a_finished_bundle_can_be_measured_again(exported: ExportResult, labelled: Path) -> None:
    """`parity BUNDLE` finds the checkpoint by the contract, and measures each artifact."""
    fp32, int8 = recheck_parity(exported.path, labelled)
    assert fp32.artifact == "fp32-onnx"
    assert fp32.ok
    assert int8.images == 10


def test_another_checkpoint_is_refused(exported: ExportResult, reference: Checkpoint, tmp_path: Path) -> None:
    """Parity with weights that the bundle was not made from would mean nothing."""
    import torch

    torch.save(dict(reference.state), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not the checkpoint that this bundle was exported from"):
        recheck_parity(exported.path, None, weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("option", [{"agree": float("nan")}, {"max_drop": float("nan")}, {"agree": 101}])
def test_a_budget_that_is_no_number_is_refused(exported: ExportResult, option: dict[str, float]) -> None:
    """Not a number would let everything through."""
    with pytest.raises(OptionError, match="expected 0 to 100"):
        recheck_parity(exported.path, None, **option)


def test_sixteen_bits_a_channel_are_refused(
    baseline: TorchBaseline, fp32: Classifier, tmp_path: Path
) -> None:
    """PIL clips them and OpenCV scales them: neither side is to blame."""
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((64, 64), 30000, np.uint16))
    with pytest.raises(ImageReadError, match="expected 8 bits per channel"):
        measure(baseline, {"fp32": fp32}, tmp_path, fp32.labels)
