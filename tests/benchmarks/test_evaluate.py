"""Facts about `ecovision-edge eval`: which photographs it takes, what it answers, prints and writes."""

import json
import os
import subprocess
import sys
import weakref

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge import Classifier
from ecovision_edge.base.device import Cpu
from ecovision_edge.base.installation import extra_fix
from ecovision_edge.bundle.contract import METADATA_KEY, Contract, InputSpec, WeightsSource
from ecovision_edge.cli.app import main
from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.labelled import LabelledImage, find_labelled, parse_map, spread
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.evaluate import run

LABELS = ("blue", "green", "red")
COLOURS = {"blue": (250, 0, 0), "green": (0, 250, 0), "red": (0, 0, 250)}
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A model file whose logits are the mean of each channel, divided by 64: what is blue is "blue"."""
    onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'ecovision-edge[export]'")
    helper, types = onnx.helper, onnx.TensorProto
    contract = Contract(LABELS, WeightsSource("tiny", "test", "0" * 64), InputSpec(height=8, width=8))
    nodes = [
        helper.make_node("Cast", ["frame"], ["pixels"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["means", "scale"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frame", types.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", types.FLOAT, ["n", 3])],
        [helper.make_tensor("scale", types.FLOAT, [], [64.0])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(proto, {METADATA_KEY: contract.dumps()})
    path = tmp_path_factory.mktemp("model") / "colours.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def paint(path, colour):
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), COLOURS[colour], np.uint8))


@pytest.fixture
def photos(tmp_path):
    """Four of blue, two of green of which one looks red, two of red."""
    folder = tmp_path / "photos"
    for i in range(4):
        paint(folder / "blue" / f"{i}.png", "blue")
    paint(folder / "green" / "0.png", "green")
    paint(folder / "green" / "1.png", "red")
    for i in range(2):
        paint(folder / "red" / f"{i}.png", "red")
    return folder


@pytest.fixture
def cli(capsys, model):
    """Run `eval` on the model of colours; gives exit status, standard output and standard error."""

    def run_eval(*arguments):
        status = main(["eval", "--bundle", str(model), *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_eval


def one_line(text):
    """An error as users see it: one line, with the program's name."""
    return text.startswith("ecovision-edge: ") and text.count("\n") == 1 and text.endswith("\n")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_table_is_that_of_a_model_card(cli, photos):
    """Class, correct, incorrect, accuracy; where it is no terminal, plain text and the same every time."""
    status, out, err = cli("--data", photos)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"colours.onnx on 8 photographs of {photos}"
    assert lines[2:7] == [
        "class  correct  incorrect  accuracy",
        "blue         4          0  100.00 %",
        "green        1          1   50.00 %",
        "red          2          0  100.00 %",
        "all          7          1   87.50 %",
    ]
    assert lines[8] == "accuracy 87.50 % [52.9, 97.8] (Wilson 95 %)"
    assert lines[9] == "macro F1 0.8222 of 3 classes"  # (1 + 2/3 + 4/5) / 3
    assert lines[-2:] == ["confusions, of 1:", "  green -> red 1"]
    assert cli("--data", photos)[1] == out


def test_a_large_jpeg_is_decoded_as_small_as_will_do(cli, tmp_path, monkeypatch):
    """But whole where letterbox bars are taken off, or where `--whole` asks for it."""
    decoded, decode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: decoded.append(flags) or decode(data, flags))
    plain = np.full((80, 120, 3), COLOURS["blue"], np.uint8)
    boxed = np.full((120, 120, 3), 114, np.uint8)
    boxed[20:100] = plain
    for name, picture in (("boxed", boxed), ("plain", plain)):
        (tmp_path / "blue").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "blue" / f"{name}.jpg"), picture)
    small = cli("--data", tmp_path)[1]
    assert decoded == [cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_8]
    decoded.clear()
    assert cli("--data", tmp_path, "--whole")[1] == small
    assert decoded == [cv2.IMREAD_COLOR] * 2


def test_json_holds_every_figure_and_every_answer(cli, photos, tmp_path):
    """Versioned; keys do not come and go."""
    target = tmp_path / "eval.json"
    assert cli("--data", photos, "--json", target)[0] == 0
    value = read(target)
    assert list(value) == [
        *["schema", "schema_version", "ecovision_edge", "bundle", "artifact", "precision", "model_sha256"],
        *["engine", "threads", "temperature", "machine", "data", "labels", "photographs", "correct"],
        *["incorrect", "accuracy", "accuracy_wilson_95", "macro_f1", "without_photographs"],
        *["mean_confidence", "nll", "ece", "ece_source", "classes", "confusion", "reliability", "turns"],
        *["failed", "images"],
    ]
    assert (value["schema"], value["schema_version"]) == ("ecovision-edge/eval", 1)
    assert (value["bundle"], value["artifact"], value["precision"]) == (None, "colours.onnx", None)
    assert set(value["machine"]) == {"arch", "cpu", "cpu_features", "u8s8_saturates"}
    assert value["data"] == {
        "folder": str(photos),
        "found": 8,
        "limit": None,
        "map": {},
        "whole": False,
        "skipped": {},
    }
    assert value["confusion"] == [[4, 0, 0], [0, 1, 1], [0, 0, 2]]
    assert [c["label"] for c in value["classes"]] == list(LABELS)
    assert value["classes"][1] == {
        **{"label": "green", "photographs": 2, "correct": 1, "incorrect": 1, "predicted": 1},
        **{"accuracy": 0.5, "accuracy_wilson_95": pytest.approx([0.0945, 0.9055], abs=1e-4)},
        **{"precision": 1.0, "f1": pytest.approx(2 / 3)},
    }
    assert len(value["reliability"]) == 15
    assert set(value["reliability"][0]) == {"low", "high", "count", "correct", "confidence", "accuracy"}
    assert len(value["images"]) == 8
    wrong = [row for row in value["images"] if row["truth"] != row["predicted"]]
    score = round(float(np.exp(250 / 64) / (np.exp(250 / 64) + 2)), 6)
    rest = round((1 - float(np.exp(250 / 64) / (np.exp(250 / 64) + 2))) / 2, 6)
    assert wrong == [
        {
            **{"image": "green/1.png", "truth": "green", "predicted": "red", "score": pytest.approx(score)},
            "probabilities": pytest.approx([rest, rest, score], abs=2e-6),
        }
    ]


def test_json_is_a_photograph_a_line(cli, photos, tmp_path):
    """So that two evaluations can be compared by `diff`, and the file is written as it goes."""
    target = tmp_path / "eval.json"
    cli("--data", photos, "--json", target)
    lines = target.read_text().splitlines()
    assert len([line for line in lines if line.startswith('    {"image": ')]) == 8
    assert "    [4, 0, 0]," in lines


def test_json_on_standard_output_is_all_there_is(cli, photos):
    """No table beside it."""
    status, out, err = cli("--data", photos, "--json", "-")
    assert (status, err) == (0, "")
    assert json.loads(out)["correct"] == 7


def test_html_is_written_beside(cli, photos, tmp_path):
    """One file, whole, and nothing else is left in the folder."""
    target = tmp_path / "out" / "eval.html"
    target.parent.mkdir()
    assert cli("--data", photos, "--html", target)[0] == 0
    assert target.read_text(encoding="utf-8").endswith("</html>\n")
    assert [p.name for p in target.parent.iterdir()] == ["eval.html"]


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_target_that_cannot_be_written_is_told_before_the_work(cli, photos, tmp_path, option):
    """A folder, or a file in none; the broken photograph shows that nothing was classified yet."""
    (photos / "red" / "broken.png").write_bytes(b"no image")
    for target in (tmp_path, tmp_path / "none" / "x"):
        status, out, err = cli("--data", photos, option, target)
        assert (status, out) == (2, "")
        assert one_line(err)
        assert option in err
        assert "broken" not in err


def test_html_wants_a_file_of_its_own(cli, photos, tmp_path):
    """Not standard output, and not the file of --json."""
    for arguments in (["--html", "-"], ["--html", tmp_path / "x", "--json", tmp_path / "x"]):
        status, _, err = cli("--data", photos, *arguments)
        assert status == 2
        assert one_line(err)
    assert not (tmp_path / "x").exists()


def test_a_file_that_cannot_be_written_leaves_the_old_one(cli, photos, tmp_path, monkeypatch):
    """And no half-written one beside it."""
    target = tmp_path / "eval.html"
    target.write_text("old")

    def full(part, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    status, _, err = cli("--data", photos, "--html", target)
    assert (status, one_line(err)) == (2, True)
    assert "No space left" in err
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eval.html", "photos"]


def test_a_file_that_cannot_be_decoded_is_told_and_left_out(cli, photos, tmp_path):
    """The rest is evaluated; the exit status says that not all went well."""
    (photos / "red" / "broken.png").write_bytes(b"no image")
    cv2.imwrite(str(photos / "red" / "wide.png"), np.zeros((2, 40_000, 3), np.uint8))
    status, out, err = cli("--data", photos, "--json", tmp_path / "x.json")
    assert status == 1
    assert len(err.splitlines()) == 2
    assert "broken.png" in err
    assert "wide.png" in err
    assert "2 images could not be decoded: left out" in out
    assert "all          7          1   87.50 %" in out
    value = read(tmp_path / "x.json")
    assert [f["image"] for f in value["failed"]] == ["red/broken.png", "red/wide.png"]
    assert len(value["images"]) == 8


def test_nothing_but_broken_files_is_an_error(cli, tmp_path):
    """There is nothing to measure, so nothing is written."""
    (tmp_path / "photos" / "red").mkdir(parents=True)
    (tmp_path / "photos" / "red" / "broken.png").write_bytes(b"no image")
    status, out, err = cli("--data", tmp_path / "photos", "--json", tmp_path / "x.json")
    assert (status, out) == (2, "")
    assert "images that can be decoded" in err
    assert not (tmp_path / "x.json").exists()


def test_an_unknown_folder_is_told_with_labels_and_close_matches(cli, photos):
    """And with the --map to give, ready to copy."""
    paint(photos / "dark-blue" / "0.png", "blue")
    paint(photos / "Reds" / "0.png", "red")
    paint(photos / "violet" / "0.png", "red")
    status, out, err = cli("--data", photos)
    assert (status, out) == (2, "")
    assert one_line(err)
    assert "labels: blue, green, red" in err
    assert "found Reds (close to red), dark-blue (close to blue), violet" in err
    assert "--map Reds=red,dark-blue=blue,violet=LABEL" in err


def test_map_names_the_label_of_a_folder(cli, photos, tmp_path):
    """Two folders may be one class; the document says what was mapped."""
    paint(photos / "dark-blue" / "0.png", "blue")
    (photos / "red").rename(photos / "Red")
    target = tmp_path / "x.json"
    status, out, _ = cli("--data", photos, "--map", "dark-blue=blue, Red=red", "--json", target)
    assert status == 0
    assert "blue         5          0  100.00 %" in out
    assert read(target)["data"]["map"] == {"dark-blue": "blue", "Red": "red"}


@pytest.mark.parametrize("skip", ["violet=", "violet=-"])
def test_map_skips_a_folder_and_says_so(cli, photos, tmp_path, skip):
    """With its count of images; a folder named as a label can be skipped too."""
    for i in range(3):
        paint(photos / "violet" / f"{i}.png", "red")
    status, out, _ = cli("--data", photos, "--map", f"{skip},green=", "--json", tmp_path / "x.json")
    assert status == 0
    assert "skipped, as --map says: green, 2 images\nskipped, as --map says: violet, 3 images\n" in out
    value = read(tmp_path / "x.json")
    assert value["data"]["skipped"] == {"green": 2, "violet": 3}
    assert len(value["images"]) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dark=bleu", ["expected a label of the model: blue, green, red", "bleu (close to blue)"]),
        ("blu=blue", ["expected folders of", "found blu (close to blue)"]),
        ("blue", ["expected FOLDER=LABEL"]),
        ("", ["expected FOLDER=LABEL"]),
        ("=blue", ["expected FOLDER=LABEL"]),
        ("blue=red,blue=green", ["blue twice"]),
    ],
)
def test_a_wrong_map_is_misuse(cli, photos, text, words):
    """An unknown label, a folder that is not there, a form that does not exist."""
    status, out, err = cli("--data", photos, "--map", text)
    assert (status, out) == (2, "")
    assert one_line(err)
    assert all(word in err for word in ["--map", *words])


def test_a_folder_that_no_map_can_name_is_to_be_renamed(tmp_path):
    """With a comma or an equals sign in its name, there is no --map to suggest."""
    paint(tmp_path / "a,b" / "0.png", "red")
    with pytest.raises(ValueError, match="rename them"):
        find_labelled(tmp_path, LABELS)


def test_a_thousand_labels_make_no_endless_message(tmp_path):
    """Some of the names, and how many there are besides."""
    for i in range(40):
        (tmp_path / f"what {i:02}").mkdir()
    with pytest.raises(ValueError, match=r"and 970 more.* and 10 more") as caught:
        find_labelled(tmp_path, [f"label{i}" for i in range(1000)])
    assert len(str(caught.value)) < 3000


def test_images_without_a_folder_have_no_class(cli, photos, tmp_path):
    """Alone or beside the folders: an error, since they would silently not count."""
    paint(tmp_path / "flat" / "0.png", "red")
    paint(photos / "0.png", "red")
    for folder in (tmp_path / "flat", photos):
        status, _, err = cli("--data", folder)
        assert status == 2
        assert one_line(err)
        assert "0.png" in err
        assert "in one folder per class only" in err


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.mkdir(), lambda p: (p / "red").mkdir(parents=True)]
)
def test_no_photograph_at_all_is_misuse(cli, tmp_path, make):
    """No folder, an empty one, an empty class."""
    make(tmp_path / "x")
    status, out, err = cli("--data", tmp_path / "x")
    assert (status, out) == (2, "")
    assert one_line(err)


def test_other_files_are_told_by_suffix_and_count(cli, photos):
    """And the exit status stays: nothing that was asked for failed."""
    for name in ("blue/a.heic", "blue/b.HEIC", "red/c.gif"):
        (photos / name).touch()
    status, out, err = cli("--data", photos)
    assert status == 0
    assert "8 photographs" in out
    assert err == (
        f"ecovision-edge: --data {photos}: passed over 2 .heic, 1 .gif: "
        "no JPEG, PNG, BMP, WebP or TIFF images by their names\n"
    )


def test_hidden_folders_and_files_are_passed_over(cli, photos):
    """As other tools leave them: they are neither classes nor photographs."""
    paint(photos / ".cache" / "0.png", "red")
    paint(photos / "red" / ".0.png", "blue")
    paint(photos / ".0.png", "blue")
    status, out, _ = cli("--data", photos)
    assert status == 0
    assert "on 8 photographs" in out


def test_photographs_are_found_at_any_depth(photos):
    """The folder below --data is the class, whatever is below it."""
    paint(photos / "blue" / "red" / "z.png", "blue")
    found = find_labelled(photos, LABELS)
    assert [(i.name, i.label) for i in found.images][4] == ("blue/red/z.png", 0)


def test_a_class_without_photographs_is_noted(cli, photos):
    """Its row says so, and macro F1 is of the others."""
    for path in (photos / "red").iterdir():
        path.unlink()
    status, out, _ = cli("--data", photos)
    assert status == 0
    assert "red          0          0         -" in out
    assert "no photographs of red: left out of macro F1" in out
    assert "of 2 classes" in out


def test_limit_takes_photographs_of_all_classes(cli, photos, tmp_path):
    """Evenly spread, the same ones every time."""
    status, out, _ = cli("--data", photos, "--limit", 4, "--json", tmp_path / "x.json")
    assert status == 0
    assert "on 4 of 8 photographs" in out
    assert [row["image"] for row in read(tmp_path / "x.json")["images"]] == [
        "blue/0.png",
        "blue/2.png",
        "green/0.png",
        "red/0.png",
    ]
    assert cli("--data", photos, "--limit", 0)[0] == 2


@given(st.integers(1, 300), st.integers(1, 400))
def test_what_is_spread_is_evenly_spread(total, count):
    """In order, none twice, gaps that differ by one at most."""
    places = [image.label for image in spread([LabelledImage(None, "", i) for i in range(total)], count)]
    assert len(places) == min(total, count)
    gaps = {b - a for a, b in zip(places, [*places[1:], total], strict=True)}
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


NAMES = st.text(st.characters(exclude_characters=",=", exclude_categories=["Cs"]), min_size=1).filter(
    lambda s: s == s.strip()
)


@given(st.dictionaries(NAMES, st.sampled_from([None, 0, 1, 2]), min_size=1))
def test_a_map_is_read_as_it_was_written(mapping):
    """Whatever the folders are called."""
    text = ",".join(f"{k}={'' if v is None else LABELS[v]}" for k, v in mapping.items())
    assert parse_map(text, LABELS) == mapping


@given(st.text())
def test_any_map_is_read_or_refused(text):
    """Never another error."""
    try:
        mapping = parse_map(text, LABELS)
    except OptionError:
        return
    assert mapping


@pytest.fixture
def sided(photos):
    """The photographs, and one with grey bars above and below."""
    picture = np.full((40, 40, 3), 114, np.uint8)
    picture[10:30] = (140, 120, 100)
    cv2.imwrite(str(photos / "blue" / "boxed.png"), picture)
    return photos


def test_turns_give_accuracy_by_turn_mean_and_worst(cli, sided, tmp_path):
    """In the terminal, the JSON and the page, with grey bars and without."""
    target, html = tmp_path / "e.json", tmp_path / "e.html"
    status, out, _ = cli("--data", sided, "--turns", 4, "--json", target, "--html", html)
    assert status == 0
    lines = out.splitlines()
    at = lines.index("turn   as published  bars stripped")
    assert lines[at + 1 : at + 7] == [
        "0\N{DEGREE SIGN}          88.89 %        88.89 %",
        "90\N{DEGREE SIGN}         88.89 %        88.89 %",
        "180\N{DEGREE SIGN}        88.89 %        88.89 %",
        "270\N{DEGREE SIGN}        88.89 %        88.89 %",
        "mean        88.89 %        88.89 %",
        "worst       88.89 %        88.89 %",
    ]
    assert any(line.startswith("1 of 9 photographs have grey letterbox bars") for line in lines)
    turns = read(target)["turns"]
    assert (turns["turns"], turns["photographs"], turns["with_grey_bars"]) == (4, 9, 1)
    assert [t["degrees"] for t in turns["bars_stripped"]["by_turn"]] == [0, 90, 180, 270]
    page = html.read_text()
    assert "Accuracy by turn" in page
    assert "bars stripped" in page


def test_without_turns_and_bars_nothing_is_added(cli, photos, tmp_path):
    """One turn is the photograph itself; the page and the lines are as they were."""
    target, html = tmp_path / "e.json", tmp_path / "e.html"
    _, out, _ = cli("--data", photos, "--json", target, "--html", html)
    assert "worst" not in out
    assert "by turn" not in html.read_text()
    assert "grey" not in out
    assert read(target)["turns"]["turns"] == 1


@pytest.mark.parametrize("turns", ["0", "361", "x"])
def test_a_number_of_turns_that_is_none_is_misuse(cli, photos, turns):
    """Before anything is classified."""
    status, _, err = cli("--data", photos, "--turns", turns)
    assert status == 2
    assert "--turns" in err


def test_one_photograph_is_held_at_a_time(model, photos, monkeypatch):
    """Memory does not grow with the photographs; of each stay its answers, in float32."""
    frames, alive = [], []

    def tracked(path, reduce):
        alive.append(sum(frame() is not None for frame in frames))
        frame = np.zeros((20, 30, 3), np.uint8)
        frames.append(weakref.ref(frame))
        return frame

    monkeypatch.setattr(run, "read_boxed", tracked)
    answers = run.answer(Classifier.load(model), find_labelled(photos, LABELS).images)
    assert len(frames) == 8
    assert max(alive) <= 1
    assert answers.probabilities.dtype == np.float32
    assert answers.probabilities.shape == (8, 3)


@pytest.mark.slow
def test_answers_are_those_of_classify(tmp_path):
    """With the embedded bundle, as a program of one's own would get them."""
    classifier = Classifier.load(threads=1)
    for i, label in enumerate(classifier.labels):
        (tmp_path / "data" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / label / "x.png"), draw_frame(i, 320, 240))
    target = tmp_path / "x.json"
    arguments = ["--data", tmp_path / "data", "--threads", 1, "--json", target, "--html", tmp_path / "x.html"]
    assert main(["eval", *map(str, arguments)]) == 0
    value = read(target)
    entry = classifier.bundle.artifact("int8")
    assert (value["bundle"], value["artifact"], value["precision"]) == ("reference", "int8-onnx", "int8")
    assert (value["model_sha256"], value["threads"]) == (entry.file.sha256, 1)
    assert value["engine"] == classifier.backend.engine
    for i, row in enumerate(value["images"]):
        prediction = classifier.classify(draw_frame(i, 320, 240))
        assert (row["truth"], row["predicted"]) == (classifier.labels[i], prediction.label)
        assert row["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-6)
        assert row["score"] == max(row["probabilities"])


@pytest.mark.slow
def test_the_reference_is_right_about_most_photographs(photographs, capsys):
    """A hundred of the validation photographs: mixed-up labels would give a tenth."""
    assert main(["eval", "--data", str(photographs / "val"), "--limit", "100", "--json", "-"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["photographs"] == 100
    assert value["accuracy"] > 0.75
    assert value["without_photographs"] == []


def test_clipped_sums_are_noted(capsys, tmp_path, monkeypatch):
    """On x86 without VNNI an int8 model may answer otherwise than on the device that it is for."""
    paint(tmp_path / "data" / "glass" / "x.png", "blue")
    notes = []
    for features in ({"avx2", "fma"}, {"avx2", "fma", "avx512_vnni"}):
        cpu = Cpu("x86_64", "a CPU", frozenset(features))
        monkeypatch.setattr(run, "read_cpu", lambda cpu=cpu: cpu)
        assert main(["eval", "--data", str(tmp_path / "data")]) == 0
        notes.append("clips sums" in capsys.readouterr().out)
    assert notes == [True, False]


def test_on_a_terminal_the_table_is_drawn(cli, photos, monkeypatch):
    """And a progress bar runs on standard error, which leaves standard output to the result."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    status, out, err = cli("--data", photos)
    assert status == 0
    assert "┃ accuracy ┃" in out.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert "8/8" in err


def test_names_that_would_drive_the_terminal_are_escaped(cli, photos, tmp_path):
    """In messages and notes, and as text that JSON can carry."""
    name = os.fsdecode(b"\x1b[2J\xff")
    (photos / name).mkdir()
    (photos / name / "x.png").write_bytes(b"no image")
    status, out, err = cli("--data", photos)
    assert status == 2
    assert "\x1b" not in out + err
    paint(photos / "red" / "z.png", "red")
    (photos / "red" / "z.png").rename(photos / "red" / f"{name}.png")
    target = tmp_path / "x.json"
    status, out, err = cli("--data", photos, "--map", f"{name}=", "--json", target)
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    value = read(target)
    assert value["data"]["skipped"] == {"\x1b[2J\\udcff": 1}
    assert value["images"][6]["image"] == "red/\x1b[2J\\udcff.png"


def test_without_rich_the_pip_line_is_given(cli, photos, monkeypatch):
    """One line, status 1."""
    monkeypatch.setitem(sys.modules, "rich", None)
    status, out, err = cli("--data", photos)
    assert (status, out) == (1, "")
    assert err == f"ecovision-edge: rich is not installed; {extra_fix('bench')}\n"


@pytest.mark.slow
def test_evaluating_loads_no_torch(model, photos, tmp_path):
    """A device has none; nor anything of the exporter's libraries."""
    arguments = [
        "eval",
        "-b",
        model,
        "--data",
        photos,
        "--json",
        tmp_path / "x.json",
        "--html",
        tmp_path / "x.html",
    ]
    code = f"""
import sys
from ecovision_edge.cli import main
assert main({[str(a) for a in arguments]!r}) == 0
heavy = {{"torch", "torchvision", "onnx", "onnxscript", "onnxsim", "safetensors", "PIL", "matplotlib"}}
assert "ecovision_edge_bench.evaluate.report" in sys.modules
print(sorted(heavy & {{m.partition(".")[0] for m in sys.modules}}))
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.decode().splitlines()[-1] == "[]"
