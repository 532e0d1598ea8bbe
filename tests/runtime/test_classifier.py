"""Facts about the classifier: how it is loaded, and what it answers."""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge import Bundle, Classifier, read_image
from ecovision_edge.bundle.contract import OutputSpec, ResizeSpec
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import (
    ArtifactNotFoundError,
    BundleNotFoundError,
    ContractError,
    FrameTypeError,
    FrameValueError,
    IntegrityError,
    ModelError,
    OptionError,
)
from ecovision_edge.simulation.synthetic import draw_frame


def plain(colour, height=20, width=30):
    return np.zeros((height, width, 3), np.uint8) + np.array(colour, np.uint8)


@pytest.fixture(scope="module")
def classifier(pristine):
    return Classifier.load(pristine, threads=1)


@pytest.mark.parametrize(
    ("colour", "label"), [((200, 0, 0), "blue"), ((0, 200, 0), "green"), ((0, 0, 200), "red")]
)
def test_a_frame_gets_the_label_of_its_logits(classifier, colour, label):
    """The tiny network names the brightest channel."""
    prediction = classifier.classify(plain(colour))
    assert prediction.label == label == classifier.labels[prediction.index]


def test_a_prediction_is_a_softmax(classifier):
    """Scores by hand: logits 0, 0, 4."""
    prediction = classifier.classify(plain((0, 0, 64)))
    top = math.exp(4) / (math.exp(4) + 2)
    assert prediction.score == pytest.approx(top)
    assert prediction.margin == pytest.approx(top - (1 - top) / 2)
    assert prediction.probabilities == pytest.approx(((1 - top) / 2, (1 - top) / 2, top))
    assert sum(prediction.probabilities) == pytest.approx(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.label = "other"


def test_temperature_divides_the_logits(forge, tmp_path):
    """Of the contract; the logits themselves stay."""
    path = forge.bundle(tmp_path / "b", forge.contract(temperature=2.0))
    classifier = Classifier.load(path)
    assert classifier.logits(plain((0, 0, 64))).tolist() == [0, 0, 4]
    assert classifier.classify(plain((0, 0, 64))).score == pytest.approx(math.exp(2) / (math.exp(2) + 2))


def test_probabilities_of_the_network_stay_as_they_are(forge, tmp_path):
    """An output that is probabilities already is not put through softmax twice."""
    contract = forge.contract(output=OutputSpec("p", "probabilities"))
    classifier = Classifier.load(forge.bundle(tmp_path / "b", contract))
    # The tiny network gives means over 16; these add up to 1.
    prediction = classifier.classify(plain((2, 4, 10)))
    assert prediction.probabilities == pytest.approx((2 / 16, 4 / 16, 10 / 16), rel=1e-6)
    assert np.allclose(classifier.logits(plain((2, 4, 10))), np.log(np.array([2, 4, 10]) / 16))
    assert math.isfinite(classifier.logits(plain((0, 0, 16)))[0])


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=3, max_size=3))
def test_probabilities_add_up_whatever_the_logits(classifier, logits):
    """No overflow, no NaN; the order of the logits is kept."""
    probabilities = classifier.probabilities(np.array([logits], np.float32))[0]
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities >= 0).all()
    assert probabilities[int(np.argmax(logits))] == probabilities.max()


def test_a_batch_is_its_frames(classifier):
    """Of different sizes, in order; an empty one gives an empty list."""
    frames = [plain((200, 0, 0), 10, 10), plain((0, 0, 200), 50, 7), draw_frame(0, 64, 48)]
    batch = classifier.classify_batch(frames)
    alone = [classifier.classify(frame) for frame in frames]
    assert [p.probabilities for p in batch] == [p.probabilities for p in alone]
    assert classifier.classify_batch([]) == []


def test_timings_are_milliseconds_that_add_up(classifier):
    """None negative, the total their sum, the same share for each frame of a batch."""
    first, second = classifier.classify_batch([plain((1, 2, 3)), plain((4, 5, 6))])
    t = first.timings
    assert min(t.prepare_ms, t.infer_ms, t.post_ms) >= 0
    assert t.total_ms == t.prepare_ms + t.infer_ms + t.post_ms > 0
    assert t == second.timings


def test_the_steps_make_the_whole(classifier):
    """prepare, run, probabilities: what `classify` does."""
    frame = draw_frame(2, 64, 48)
    batch = classifier.prepare(frame)
    assert batch.shape == classifier.contract.input.shape(1)
    logits = classifier.run(batch)
    assert np.array_equal(logits[0], classifier.logits(frame))
    assert tuple(classifier.probabilities(logits)[0]) == classifier.classify(frame).probabilities


def test_several_threads_share_a_classifier(classifier):
    """Each gets its own frame's answer."""
    frames = [draw_frame(i, 64, 48) for i in range(24)]
    expected = [classifier.classify(f).probabilities for f in frames]
    with ThreadPoolExecutor(6) as pool:
        assert [p.probabilities for p in pool.map(classifier.classify, frames)] == expected


@pytest.mark.parametrize("frame", [None, "photo.jpg", [[1]], plain((1, 2, 3)).astype(np.int64)])
def test_what_is_no_frame_is_refused(classifier, frame):
    """As a TypeError."""
    with pytest.raises(FrameTypeError):
        classifier.classify(frame)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5, 2), (5,), (1, 5, 5, 3)])
def test_a_frame_of_a_wrong_shape_is_refused(classifier, shape):
    """As a ValueError; in a batch it says which."""
    with pytest.raises(FrameValueError):
        classifier.classify(np.zeros(shape, np.uint8))
    with pytest.raises(FrameValueError, match="frame 1"):
        classifier.classify_batch([plain((0, 0, 0)), np.zeros(shape, np.uint8)])


@pytest.mark.parametrize(
    ("artifact", "name"), [("auto", "int8-onnx"), ("fp32", "fp32-onnx"), ("int8-onnx", "int8-onnx")]
)
def test_an_artifact_is_loaded_by_name(bundle, artifact, name):
    """And says which it is."""
    classifier = Classifier.load(bundle, artifact=artifact)
    assert classifier.artifact == name
    assert classifier.bundle == Bundle.open(bundle)
    assert repr(classifier).startswith(f"<Classifier {name} of 3 classes on onnxruntime ")


def test_a_lone_model_file_works(bundle, classifier, tmp_path):
    """Copied away from its bundle, for it carries its contract; suffix in any case."""
    for name in ("m.onnx", "M.ONNX"):
        lone = tmp_path / name
        lone.write_bytes((bundle / "model.int8.onnx").read_bytes())
        loaded = Classifier.load(str(lone))
        assert loaded.bundle is None
        assert loaded.artifact == name
        frame = draw_frame(1, 64, 48)
        assert loaded.classify(frame).probabilities == classifier.classify(frame).probabilities


def test_a_lone_model_file_by_a_bare_name_works(bundle, monkeypatch):
    """Relative to the current folder."""
    monkeypatch.chdir(bundle)
    assert Classifier.load("model.int8.onnx").labels == ("blue", "green", "red")


def test_a_lone_model_file_may_be_a_link(bundle, tmp_path):
    """The user named it himself; model stores, the hub's cache for one, are made of links."""
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "m.onnx").symlink_to(bundle / "model.int8.onnx")
    assert Classifier.load(tmp_path / "snapshot" / "m.onnx").labels == ("blue", "green", "red")


def test_the_reference_bundle_is_the_default(monkeypatch, tmp_path):
    """From any folder, with no network."""
    monkeypatch.chdir(tmp_path)
    classifier = Classifier.load(threads=1)
    assert classifier.bundle.path == embedded_bundle_path()
    assert len(classifier.labels) == 10
    assert classifier.classify(draw_frame(0)).label in classifier.labels


def test_nothing_at_that_path_is_not_found(tmp_path):
    """A FileNotFoundError, for a file and for a folder without a manifest."""
    (tmp_path / "empty.onnx").mkdir()
    for name in ("none", "none.onnx", "empty.onnx", "a\0b"):
        with pytest.raises(BundleNotFoundError):
            Classifier.load(tmp_path / name)


def test_a_name_too_long_is_not_found():
    """ENAMETOOLONG does not come through as a bare OSError."""
    with pytest.raises(BundleNotFoundError):
        Classifier.load("x" * 5000)


def test_a_file_of_another_kind_is_refused(tmp_path):
    """It says what can be loaded; a manifest is not a model."""
    for name in ("photo.jpg", "bundle.json", "model"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ModelError, match=r"a bundle's folder, an \.onnx or a \.tflite file"):
            Classifier.load(tmp_path / name)


def test_a_lone_file_has_no_artifacts(bundle):
    """To ask for one is a mistake."""
    with pytest.raises(ArtifactNotFoundError):
        Classifier.load(bundle / "model.int8.onnx", artifact="int8")


def test_a_model_in_another_format_than_the_manifest_says_is_refused(bundle, forge):
    """An ONNX model is nothing for LiteRT."""
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'ecovision-edge[litert]'")
    forge.edit(bundle, lambda d: d["artifacts"][0].update(format="tflite", name="fp32-tflite"))
    with pytest.raises(ModelError, match="not a TFLite model"):
        Classifier.load(bundle, artifact="fp32-tflite")
    assert Classifier.load(bundle).artifact == "int8-onnx"


def test_a_model_with_another_contract_is_refused(forge, bundle):
    """Even with the right digest: the file and the manifest have to say the same."""
    forge.put(bundle, "model.int8.onnx", forge.model(forge.contract(temperature=3.0)))
    with pytest.raises(ContractError, match=r"model\.int8\.onnx is not that of bundle\.json"):
        Classifier.load(bundle)


def test_an_altered_model_is_refused(bundle):
    """By its digest, before the engine sees it."""
    with (bundle / "model.int8.onnx").open("r+b") as stream:
        stream.write(b"\x07")
    with pytest.raises(IntegrityError):
        Classifier.load(bundle)


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"threads": 1000}, {"filter": "nearest"}, {"providers": ["x"]}, {"providers": []}],
)
def test_options_out_of_range_are_refused(bundle, options):
    """Each an OptionError."""
    with pytest.raises(OptionError):
        Classifier.load(bundle, **options)


def test_options_reach_the_engine(bundle):
    """Threads and providers."""
    backend = Classifier.load(bundle, threads=2, providers=["CPUExecutionProvider"], spinning=False).backend
    assert backend.threads == 2
    assert backend.providers == ("CPUExecutionProvider",)


def test_the_filter_can_be_overridden(forge, tmp_path):
    """For measuring: a contract of `fast` with the filter `pil`, and the other way round."""
    frame = draw_frame(1, 640, 480)
    by_contract = {}
    for filter in ("pil", "fast"):
        path = forge.bundle(tmp_path / filter, forge.contract(resize=ResizeSpec(filter=filter)))
        by_contract[filter] = Classifier.load(path).prepare(frame)
    assert not np.array_equal(by_contract["pil"], by_contract["fast"])
    for filter, prepared in by_contract.items():
        loaded = Classifier.load(tmp_path / ("pil" if filter == "fast" else "fast"), filter=filter)
        assert np.array_equal(loaded.prepare(frame), prepared)


def test_most_photographs_get_their_label(photographs):
    """The reference bundle on one photograph of each class, whose folder is named as the class is."""
    classifier = Classifier.load()
    right = sum(classifier.classify(read_image(p)).label == p.parent.name for p in photographs)
    assert right >= 0.6 * len(photographs)


def test_loading_leaves_no_thread_that_keeps_the_process(pristine, python):
    """A process that classified ends by itself."""
    code = (
        "import sys, numpy as np; from ecovision_edge import Classifier;"
        "Classifier.load(sys.argv[1]).classify(np.zeros((9, 9, 3), np.uint8)); print('done')"
    )
    ran = python("-c", code, pristine)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"done\n", b"")
