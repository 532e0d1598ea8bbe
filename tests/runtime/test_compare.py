"""Facts about `ecovision-edge compare`: what it finds, what it writes, and its exit status."""

import dataclasses
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest

from ecovision_edge.bundle.contract import InputSpec
from ecovision_edge.cli.app import main
from ecovision_edge.comparison import page as page_module
from ecovision_edge.comparison.contracts import contract_differences, label_changes
from ecovision_edge.comparison.page import THUMBNAIL

COLOURS = {"blue": (220, 30, 40), "green": (30, 210, 50), "red": (20, 40, 230)}


@pytest.fixture
def cli(capsys):
    """Run `main` here; gives exit status, standard output and standard error."""

    def run(*arguments):
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def bundles(forge, tmp_path_factory):
    """`old` calls each colour by its name; `swapped` takes blue and green for each other.

    `mirror` is right too, with its labels the other way round; `other` lacks green and knows pink.
    """
    folder = tmp_path_factory.mktemp("bundles")
    for name, contract in {
        "old": forge.contract(),
        "swapped": forge.contract(labels=("green", "blue", "red")),
        "mirror": forge.contract(labels=("red", "green", "blue"), dtype="float32"),
        "other": forge.contract(labels=("blue", "pink", "red")),
    }.items():
        forge.bundle(folder / name, contract, precisions=("fp32",), provenance={"bundle_version": name})
    return folder


def paint(path, colour, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), COLOURS[colour], np.uint8))
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two of each colour, in its folder."""
    folder = tmp_path_factory.mktemp("photographs")
    for colour in COLOURS:
        for n in range(2):
            paint(folder / colour / f"{n}.png", colour)
    return folder


def test_planted_differences_are_found_by_class(cli, bundles, photographs, tmp_path):
    """Which photographs they are, what that proves, and which model is which."""
    status, out, err = cli("compare", bundles / "old", bundles / "swapped", "--data", photographs)
    assert (status, err) == (0, "")
    assert re.search(r"^old: tiny old \(\w{12}\), fp32-onnx", out, re.MULTILINE)
    assert "labels: the same, in another order" in out
    assert re.search(r"^blue +2 +2 100.00 % +0 +0.00 % +2 +0 +0.500$", out, re.MULTILINE)
    assert re.search(r"^red +2 +2 100.00 % +2 100.00 % +0 +0 +1.000$", out, re.MULTILINE)
    assert "difference: -66.67 points" in out
    assert "4 went from right to wrong, 0 from wrong to right: p = 0.125 (McNemar, exact)" in out
    assert "latency here: old " in out
    report = tmp_path / "r.json"
    cli("compare", bundles / "old", bundles / "swapped", "--data", photographs, "--json", report)
    found = json.loads(report.read_text())
    total = found["photographs"]["total"]
    assert (total["right_now_wrong"], total["mcnemar_p"], total["mcnemar_p_worse"]) == (4, 0.125, 0.0625)
    assert total["old_wilson_95"] == pytest.approx([0.6097, 1.0], abs=1e-4)
    changed = [(c["name"], c["truth"], c["old"], c["new"]) for c in found["photographs"]["changed"]]
    assert changed[0] == ("blue/0.png", "blue", "blue", "green")
    assert len(changed) == 4
    assert found["new"]["bundle"]["version"] == "swapped"
    assert found["latency"]["rounds"] == 60


def test_labels_in_another_order_are_the_same_labels(cli, bundles, photographs):
    """Answers are compared by name."""
    status, out, _ = cli(
        *("compare", bundles / "old", bundles / "mirror", "--data", photographs, "--json", "-"), "--rounds", 0
    )
    found = json.loads(out)
    assert status == 0
    assert found["labels"] == {
        "same": True,
        "reordered": True,
        "removed": [],
        "added": [],
        "case_changed": [],
    }
    assert {"field": "input.color", "label": None, "old": "BGR", "new": "RGB"} in found["contract"]
    assert (found["photographs"]["changed"], found["latency"], found["ok"]) == ([], None, None)


def test_a_label_that_is_gone_is_worse_and_one_that_is_new_stands_apart(cli, bundles, photographs, tmp_path):
    """What worked has to go on working: pink makes up for nothing."""
    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    paint(data / "pink" / "0.png", "green")
    status, out, _ = cli(
        *("compare", bundles / "old", bundles / "other", "--data", data, "--json", "-"), "--max-worse", 100
    )
    found = json.loads(out)
    assert (found["labels"]["removed"], found["labels"]["added"]) == (["green"], ["pink"])
    assert found["photographs"]["classes"]["green"]["right_now_wrong"] == 2
    assert found["photographs"]["added"]["wrong_now_right"] == 1
    assert found["photographs"]["total"]["photographs"] == 6
    assert (status, found["ok"]) == (0, True)  # all of it may be lost


@pytest.mark.parametrize(
    ("new", "margin", "copies", "ok", "reason"),
    [
        ("mirror", 50, 1, True, "at most 39.03 points of the accuracy are lost (95 % confidence)"),
        ("mirror", 5, 1, False, "6 photographs cannot prove it, at least 73 could"),
        ("mirror", 0, 1, False, "as much as 39.03 points of the accuracy may be lost; 0.00 points were"),
        ("swapped", 20, 4, False, "at least 43.67 points of the accuracy are lost"),
    ],
)
def test_the_exit_status_says_whether_it_is_proved(
    cli, bundles, photographs, tmp_path, new, margin, copies, ok, reason
):
    """By the end of the interval of the drop: few photographs prove little, however well they went."""
    for n in range(copies):
        for path in photographs.glob("*/*.png"):
            (tmp_path / "data" / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "data" / path.parent.name / f"{n}{path.name}")
    given = ("--data", tmp_path / "data", "--max-worse", margin, "--rounds", 0)
    status, out, _ = cli("compare", bundles / "old", bundles / new, *given)
    assert status == (0 if ok else 1)
    assert out.splitlines()[-1].startswith("passed: " if ok else "NOT passed: ")
    assert reason in out.splitlines()[-1]


def test_a_recording_is_compared_and_shown(cli, bundles, tmp_path):
    """A folder of pictures that nobody labelled: where they disagree, and the pictures in one page."""
    frames = tmp_path / "recording"
    for n, colour in enumerate(["red", "blue", "red", "green"]):
        paint(frames / f"{n:09}.png", colour, (400, 600))
    target = tmp_path / "c.html"
    status, out, _ = cli("compare", bundles / "old", bundles / "swapped", "--data", frames, "--html", target)
    assert status == 0
    assert "frames: they agree on 2 of 4, 50.00 %" in out
    assert re.search(r"^  000000001.png: blue \d\.\d\d -> green \d\.\d\d$", out, re.MULTILINE)
    text = target.read_text()
    assert "They disagree" in text
    assert text.count("<img ") == 2
    assert "http" not in text.replace("http-equiv", "")
    assert re.search(r"blue \d\.\d\d \N{RIGHTWARDS ARROW} green", text)
    again = cli("compare", bundles / "old", bundles / "swapped", "--frames", frames, "--json", "-")[1]
    assert json.loads(again)["frames"]["agreed"] == 2


def test_the_page_holds_a_bounded_number_of_small_pictures(cli, bundles, tmp_path, monkeypatch):
    """Whatever there is; the rest is counted. A photograph that is gone by then leaves its words."""
    monkeypatch.setattr(page_module, "MOST_SHOWN", 2)
    data = tmp_path / "data"
    for n in range(3):
        paint(data / "blue" / f"{n}<&>.png", "blue", (500, 1000))
    paint(data / "red" / "0.png", "red")
    target = tmp_path / "c.html"
    cli("compare", bundles / "old", bundles / "swapped", "--data", data, "--html", target)
    text = target.read_text()
    assert "Was right, is wrong: 3, 2 of them here" in text
    assert "blue/0&lt;&amp;&gt;.png" in text
    sources = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    assert len(sources) == 2
    import base64

    shown = cv2.imdecode(np.frombuffer(base64.b64decode(sources[0]), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (THUMBNAIL // 2, THUMBNAIL, 3)
    assert page_module._thumbnail(tmp_path / "gone.png", None) is None


def test_one_damaged_photograph_is_told_and_the_others_count(cli, bundles, photographs, tmp_path):
    """As with `eval`: what could not be looked at was not compared, and the status says so."""
    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    (data / "red" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    given = ("--data", data, "--max-worse", 50, "--json", "-", "--html", tmp_path / "c.html")
    status, out, err = cli("compare", bundles / "old", bundles / "mirror", *given)
    assert status == 1
    assert "red/bad.jpg" in err
    found = json.loads(out)
    assert found["ok"] is True
    assert found["photographs"]["total"]["photographs"] == 6
    assert [f["name"] for f in found["photographs"]["failures"]] == ["red/bad.jpg"]


def test_one_photograph_is_compared(cli, bundles, tmp_path):
    """And proves next to nothing."""
    paint(tmp_path / "data" / "red" / "0.png", "red", (1, 1))
    status, out, _ = cli("compare", bundles / "old", bundles / "old", "--data", tmp_path / "data")
    assert status == 0
    assert "difference: +0.00 points [-79.35, +79.35]" in out


def test_names_that_no_terminal_should_be_given_are_escaped(cli, bundles, photographs, tmp_path):
    """In the text, in the JSON and in the page: of other bytes than UTF-8, of escape sequences."""
    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    for name in (b"\xff.png", b"\x1b[2J.png"):
        shutil.copy(os.fsencode(data / "blue" / "0.png"), os.fsencode(data / "blue") + b"/" + name)
    (data / "red" / "\x1b[3J.png").write_bytes(b"")
    report, html = tmp_path / "r.json", tmp_path / "c.html"
    given = ("--data", data, "--rounds", 0, "--json", report, "--html", html)
    status, out, err = cli("compare", bundles / "old", bundles / "swapped", *given)
    assert status == 1  # for the damaged one
    names = {c["name"] for c in json.loads(report.read_text())["photographs"]["changed"]}
    assert {"blue/\\udcff.png", "blue/\\x1b[2J.png"} <= names
    for text in (out, err, report.read_text(), html.read_text()):
        assert "\x1b" not in text
    frames = cli("compare", bundles / "old", bundles / "swapped", "--frames", data, "--rounds", 0)[1]
    assert "\\udcff.png: blue" in frames


def test_a_model_of_another_size_is_compared(cli, bundles, forge, photographs, tmp_path):
    """Each sees a photograph as its own contract says."""
    large = forge.contract(input=InputSpec(height=64, width=48))
    forge.bundle(tmp_path / "large", large, precisions=("fp32",))
    given = ("--data", photographs, "--json", "-", "--rounds", 1)
    status, out, _ = cli("compare", bundles / "old", tmp_path / "large", *given)
    found = json.loads(out)
    assert (status, found["photographs"]["changed"]) == (0, [])
    assert [d["field"] for d in found["contract"]] == ["input.height", "input.width"]


def test_a_part_beyond_its_picture_is_told(cli, bundles, tmp_path):
    """A recording whose pictures somebody made smaller."""
    frames = tmp_path / "recording"
    for n in range(2):
        paint(frames / f"{n:09}.png", "red")
    said = {"schema": "ecovision-edge/recorded-frame", "schema_version": 1, "image": "000000000.png"}
    said |= dict.fromkeys(("index", "sequence", "dropped"), 0) | {"captured_at": 1.0, "age_ms": 1.0}
    said |= {"label": "a", "score": 0.75, "margin": 0.5, "probabilities": {"a": 0.75, "b": 0.25}}
    said |= {"time": "2026-11-30T05:00:00+00:00", "timings_ms": {"prepare": 1, "infer": 1, "post": 1}}
    (frames / "000000000.json").write_text(json.dumps({**said, "box": [400, 300, 500, 400]}))
    given = ("--data", frames, "--html", tmp_path / "c.html", "--json", "-")
    status, out, err = cli("compare", bundles / "old", bundles / "swapped", *given)
    assert (status, json.loads(out)["frames"]["compared"]) == (1, 1)
    assert "000000000.png" in err


def test_photographs_of_new_classes_alone_prove_nothing(cli, bundles, tmp_path):
    """Of what worked before they say nothing."""
    paint(tmp_path / "data" / "pink" / "0.png", "green")
    (tmp_path / "data" / "red").mkdir()
    given = ("--data", tmp_path / "data", "--max-worse", 100, "--rounds", 0)
    status, out, _ = cli("compare", bundles / "old", bundles / "other", *given)
    assert status == 1
    assert "beside them 1 photograph of classes that only the new model knows: 1 right" in out
    assert out.splitlines()[-1].startswith(
        "NOT passed: not one photograph of a class that the old model knows"
    )


@pytest.mark.parametrize("bad", ["old", "new"])
def test_a_model_that_cannot_be_loaded_is_refused_before_anything_is_looked_at(
    cli, bundles, photographs, tmp_path, bad
):
    """Whichever it is; nothing is written."""
    both = {"old": bundles / "old", "new": bundles / "old", bad: tmp_path}
    html = tmp_path / "c.html"
    status, out, err = cli("compare", both["old"], both["new"], "--data", photographs, "--html", html)
    assert (status, out) == (2, "")
    assert "not a bundle" in err
    assert not html.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--data: expected photographs, or frames by --frames, found neither"),
        (["--data", "empty"], "--data empty.*found none"),
        (["--data", "nowhere"], "--data nowhere.*no such folder"),
        (["--frames", "empty"], "--frames empty.*found none in it"),
        (["--frames", "nowhere"], "--frames nowhere.*no such folder"),
        (["--data", "torn"], "expected pictures that can be compared, found 1 that cannot"),
        (["--data", "purple"], "folders named as the labels.*purple"),
        (["--frames", "torn", "--max-worse", "1"], "--max-worse: expected --data"),
        (["--frames", "torn", "--map", "a=red"], "--map: expected --data"),
        (["--data", "purple", "--max-worse", "101"], "--max-worse: expected 0 to 100"),
        (["--data", "purple", "--max-worse", "nan"], "--max-worse: expected 0 to 100"),
        (["--data", "purple", "--html", "-"], "--html -"),
        (["--data", "purple", "--html", "x", "--json", "x"], "two files"),
        (["--data", "purple", "--json", "none/x"], "--json none/x"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_what_cannot_be_compared_is_refused(cli, bundles, tmp_path, monkeypatch, arguments, words):
    """In one line, with status 1 or 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "1.png").write_bytes(b"\x89PNG")
    paint(tmp_path / "purple" / "purple" / "1.png", "red")
    before = sorted(tmp_path.rglob("*"))
    status, out, err = cli("compare", bundles / "old", bundles / "old", *arguments)
    assert status in (1, 2)
    assert out == ""
    assert re.search(words, err.splitlines()[-1])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_lone_model_file_is_compared_with_a_bundle(cli, bundles, photographs):
    """It has a name and no identity."""
    lone = bundles / "swapped" / "model.fp32.onnx"
    status, out, _ = cli("compare", bundles / "old", lone, "--data", photographs, "--rounds", 0)
    assert status == 0
    assert "new: model.fp32.onnx, on onnxruntime" in out


def test_folders_of_other_names_are_mapped(cli, bundles, photographs, tmp_path):
    """To a label of either model."""
    shutil.copytree(photographs, tmp_path / "data")
    (tmp_path / "data" / "green").rename(tmp_path / "data" / "leaf")
    given = ("--data", tmp_path / "data", "--map", "leaf=pink", "--rounds", 0, "--json", "-")
    status, out, _ = cli("compare", bundles / "old", bundles / "other", *given)
    assert status == 0
    assert json.loads(out)["photographs"]["added"]["photographs"] == 2


def test_labels_that_differ_in_case_are_told():
    """Rules and answers compare letter by letter: such a model sorts nothing into that bin."""
    changes = label_changes(("Glass", "metal", "paper"), ("paper", "glass", "metal"))
    assert changes.renamed == (("Glass", "glass"),)
    assert (changes.removed, changes.added, changes.reordered) == (("Glass",), ("glass",), True)


def test_contracts_are_compared_value_by_value(forge):
    """Thresholds by label, of those that both have; what the first version left out is no difference."""
    old = forge.contract()
    new = dataclasses.replace(
        old,
        labels=("red", "green", "pink"),
        thresholds=(0.5, 0.25, 0.125),
        temperature=1.5,
        any_orientation=True,
    )
    found = [(d.field, d.label, d.old, d.new) for d in contract_differences(old, new)]
    assert found == [
        ("temperature", None, "1", "1.5"),
        ("any_orientation", None, "false", "true"),
        ("thresholds", "red", "none", "0.5"),
        ("thresholds", "green", "none", "0.25"),
    ]
    assert contract_differences(old, old) == ()
    same = dataclasses.replace(new, labels=("green", "red", "pink"), thresholds=(0.25, 0.5, 0.125))
    assert contract_differences(new, same) == ()  # the same threshold of each label
