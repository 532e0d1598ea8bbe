"""Facts about the measurement of the resize filters."""

import builtins
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import ArtifactNotFoundError, ImageReadError, ModelError
from ecovision_edge_bench import enlarged, filters
from ecovision_edge_bench.subjects import Spec
from ecovision_edge_bench.subjects.classifier import load

EMBEDDED = str(embedded_bundle_path())
NAMES = ["PIL", "pil", "fast", "INTER_LINEAR", "INTER_AREA"]


@pytest.fixture(autouse=True)
def numpy_resizes(monkeypatch):
    """Also where the native library is installed."""
    monkeypatch.setattr(filters, "find_native", lambda: None)


@pytest.fixture
def folder(tmp_path):
    """Six synthetic photographs of 120x90."""
    rng = np.random.default_rng(0)
    for i in range(6):
        picture = cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (120, 90))
        cv2.circle(picture, (30 + 9 * i, 45), 20, (0, 0, 255), -1)
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture)
    return tmp_path


def model_file(path, *, layout, side=32):
    """A classifier of three classes: the means of the channels."""
    onnx = pytest.importorskip("onnx", reason="needs onnx: [export]")
    helper, types = onnx.helper, onnx.TensorProto
    nhwc = layout == "NHWC"
    shape = ["n", side, side, 3] if nhwc else ["n", 3, side, side]
    axes = helper.make_tensor("axes", types.INT64, [2], [1, 2] if nhwc else [2, 3])
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["logits"], keepdims=0),
    ]
    kind = types.UINT8 if nhwc else types.FLOAT
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("logits", types.FLOAT, ["n", 3])],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path


def test_each_size_has_a_row_for_each_filter_and_the_first_is_the_reference(folder):
    """Which differs from itself by nothing and takes its own time."""
    rows = list(filters.measure(enlarged.photographs(folder, 4), [(120, 90), (640, 480)]))
    assert [(r.width, r.filter) for r in rows] == [(w, n) for w in (120, 640) for n in NAMES]
    for row in (rows[0], rows[5]):
        assert (row.mean_difference, row.max_difference, row.time_ratio) == (0.0, 0, 1.0)
    assert all(r.photographs == len(r.times_ms) == 4 for r in rows)
    assert all(r.flips is None and r.probability_difference is None for r in rows)


def test_where_the_native_filter_is_numpys_has_a_row_of_its_own(folder, monkeypatch):
    """So that one run compares the two."""
    monkeypatch.setattr(filters, "find_native", object)
    rows = list(filters.measure(enlarged.photographs(folder, 2), [(120, 90)]))
    assert [r.filter for r in rows] == [*NAMES, "pil by numpy"]
    assert rows[-1].max_difference <= 1


def test_bench_says_what_resizes():
    """The instructions of the native filter, or numpy."""
    subject = load(Spec("classifier", "ours", "int8", EMBEDDED, "int8-onnx"))
    kernel = filters.Preprocessor(subject._classifier.contract).kernel
    assert subject.facts.preprocessing == f"ecovision-edge, filter pil by {kernel}"


def test_pil_stays_within_one_level_and_fast_is_nearer_than_inter_linear(folder):
    """The table says what the filters promise."""
    rows = {r.filter: r for r in filters.measure(enlarged.photographs(folder, 4), [(640, 480)])}
    assert rows["pil"].max_difference <= 1
    assert rows["fast"].mean_difference < rows["INTER_LINEAR"].mean_difference


def test_the_same_photographs_are_chosen_again(folder):
    """And fewer of them are the first of more."""
    assert enlarged.photographs(folder, 3) == enlarged.photographs(folder, 6)[:3]
    assert enlarged.photographs(folder, 3) == enlarged.photographs(folder, 3)


def test_pixels_are_the_same_in_every_run(folder):
    """Only times vary."""

    def figures():
        paths = enlarged.photographs(folder, 3)
        return [(r.mean_difference, r.max_difference) for r in filters.measure(paths, [(300, 400)])]

    assert figures() == figures()


def test_an_enlarged_frame_keeps_the_picture_and_gains_detail(folder):
    """Shrunk again it is the photograph, while its fine detail is not the smooth stretch's."""
    photograph = cv2.imread(str(folder / "0.png"))
    noise = np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    frame = enlarged.camera_frame(photograph, 640, 480, [noise], np.random.default_rng(0))
    stretched = cv2.resize(photograph, (640, 480), interpolation=cv2.INTER_CUBIC)
    back = cv2.resize(frame, (120, 90), interpolation=cv2.INTER_AREA)
    assert frame.shape == (480, 640, 3)
    assert cv2.absdiff(frame, stretched).mean() > 5
    assert cv2.absdiff(back, photograph).mean() < 3


def test_a_larger_photograph_is_shrunk_without_anything_added():
    """It has detail of its own."""
    photograph = np.full((500, 700, 3), 9, np.uint8)
    frame = enlarged.camera_frame(photograph, 640, 480, [photograph[:5, :5]], np.random.default_rng(0))
    assert (frame == 9).all()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_model_with_either_input_is_classified_with(tmp_path, folder, layout):
    """Its input says which; probabilities sum to one and PIL never flips against itself."""
    model = filters.Model(model_file(tmp_path / "model.onnx", layout=layout))
    answers = model.probabilities([np.full((32, 32, 3), level, np.uint8) for level in (0, 255)])
    assert answers.shape == (2, 3)
    assert np.allclose(answers.sum(axis=1), 1)
    rows = list(filters.measure(enlarged.photographs(folder, 2), [(120, 90)], model))
    assert (rows[0].flips, rows[0].probability_difference) == (0, 0.0)


def test_a_bundle_folder_gives_its_fp32_model(tmp_path):
    """Whatever else lies there."""
    model_file(tmp_path / "model.fp32.onnx", layout="NHWC", side=16)
    (tmp_path / "a.onnx").write_bytes(b"not this one")
    assert filters.Model(tmp_path).contract.input.height == 16


def test_a_missing_or_broken_model_is_a_typed_error(tmp_path):
    """Nothing of onnxruntime's comes through."""
    with pytest.raises(ArtifactNotFoundError, match="no model"):
        filters.Model(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"no")
    with pytest.raises(ModelError, match="cannot open"):
        filters.Model(tmp_path / "broken.onnx")


def test_main_prints_a_markdown_table_and_writes_the_raw_figures(tmp_path, folder, capsys):
    """The table alone, to be pasted; every time and the machine in the JSON."""
    model = model_file(tmp_path / "model.onnx", layout="NHWC")
    figures = tmp_path / "out.json"
    arguments = ["--images", str(folder), "--limit", "2", "--size", "160x120", "--markdown"]
    assert filters.main([*arguments, "--model", str(model), "--json", str(figures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(NAMES)
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| 160x120 | PIL | 0.00 | 0 | 0.0000 | 0 of 2 | 1.00 |")
    document = json.loads(figures.read_text())
    assert [row["filter"] for row in document["rows"]] == NAMES
    assert len(document["rows"][0]["times_ms"]) == 2
    assert document["machine"]["opencv"] == cv2.__version__


def test_main_leaves_opencvs_threads_as_they_were(folder):
    """It measures with one."""
    before = cv2.getNumThreads()
    assert filters.main(["--images", str(folder), "--limit", "1", "--size", "60x50"]) == 0
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--limit", "0"], "--limit: expected at least 1, found 0"),
        (["--size", "12"], "--size: expected WIDTHxHEIGHT"),
        (["--size", "0x5"], "sides from 1 to 8192, found 0x5"),
        (["--model", "nowhere.onnx"], "no model"),
    ],
)
def test_main_says_in_one_line_what_is_wrong(folder, capsys, arguments, words):
    """Exit status 2, for misuse."""
    assert filters.main(["--images", str(folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_folder_without_photographs_is_refused(tmp_path):
    """Rather than measured."""
    with pytest.raises(ImageReadError, match="no photographs"):
        enlarged.photographs(tmp_path, 5)


def test_without_pillow_the_pip_line_is_given(folder, capsys, monkeypatch):
    """In one line, exit status 1."""
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert filters.main(["--images", str(folder)]) == 1
    expected = f"error: Pillow is not installed; {extra_fix('bench')}\n"
    assert capsys.readouterr().err == expected


def test_it_runs_as_a_module():
    """As the docs say."""
    command = [sys.executable, "-m", "ecovision_edge_bench.filters", "--help"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0
    assert "--images" in result.stdout
