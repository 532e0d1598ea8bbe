"""Facts about the page that `ecovision-edge eval --html` writes."""

import base64
import dataclasses
import html.parser
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from ecovision_edge.base.device import Cpu
from ecovision_edge.photographs.labelled import LabelledImage
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.evaluate.metrics import measure
from ecovision_edge_bench.evaluate.report import MAX_CLASSES_SHOWN, THUMBNAIL, page
from ecovision_edge_bench.evaluate.run import Answers, Data, Evaluation, Model
from ecovision_edge_bench.evaluate.text import note_lines

VOID = {"meta", "img", "br", "hr", "link", "input"}
CPU = Cpu("x86_64", "a CPU", frozenset({"avx2", "avx512_vnni"}))


class Reader(html.parser.HTMLParser):
    """Collects elements and text, and complains of what is not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._open = [], "", []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), "an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def evaluation(answers, labels=("a", "b", "c"), **data):
    """An evaluation of photographs given as path, name, truth and probabilities."""
    probabilities = np.array([row for *_, row in answers], np.float32)
    truth = np.array([t for _, _, t, _ in answers])
    predicted = probabilities.argmax(1)
    images = tuple(LabelledImage(path, name, t) for path, name, t, _ in answers)
    model = Model("mine", "int8-onnx", "int8", "0" * 64, "an engine 1.0", 1, 1.0, labels, CPU)
    return Evaluation(
        model,
        Data(Path("photos"), len(answers), **data),
        Answers(images, truth, predicted, probabilities),
        measure(labels, truth, predicted, probabilities),
    )


@pytest.mark.parametrize(
    ("engine", "features", "noted"),
    [
        ("onnxruntime 1.32.0", {"avx2", "fma"}, True),
        ("onnxruntime 1.32.0", {"avx"}, False),
        ("ai-edge-litert 2.3.0", {"avx2", "fma"}, False),
    ],
)
def test_clipped_sums_are_noted_of_the_engine_that_clips(photo, engine, features, noted):
    """LiteRT's kernels clip none, on any CPU."""
    made = evaluation([(photo, "a/x.jpg", 0, [0.6, 0.3, 0.1])])
    model = dataclasses.replace(made.model, engine=engine, cpu=Cpu("x86_64", "", frozenset(features)))
    notes = "\n".join(note_lines(dataclasses.replace(made, model=model)))
    assert ("clips sums of int8 products" in notes) is noted


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), draw_frame(4, 640, 480))
    return path


@pytest.fixture
def example(photo):
    """Three of a, one of them taken for b; one of b, right; none of c."""
    return evaluation(
        [
            (photo, "a/unsure.jpg", 0, [0.6, 0.3, 0.1]),
            (photo, "a/sure.jpg", 0, [0.9, 0.05, 0.05]),
            (photo, "a/wrong.jpg", 0, [0.2, 0.7, 0.1]),
            (photo, "b/right.jpg", 1, [0.1, 0.8, 0.1]),
        ]
    )


def test_the_page_is_well_formed_and_has_every_part(example):
    """Every element is closed in order; figures as the terminal has them."""
    text = page(example)
    assert text.startswith("<!DOCTYPE html>\n")
    reader = Reader(text)
    assert [tag for tag, _ in reader.elements].count("h2") == 5
    assert [svg["aria-label"] for svg in reader.all("svg")] == ["Confusion matrix", "Reliability diagram"]
    for part in ("mine int8-onnx", "75.00 %", "95 % interval 30.1 to 95.4 %", "a → b: 1", "0" * 64):
        assert part in reader.text


def test_the_page_asks_for_nothing_outside_itself(example):
    """No address, no script, no style sheet; pictures are data, and the browser is told to fetch nothing."""
    text = page(example)
    reader = Reader(text)
    assert re.findall(r"https?:|//|url\(|@import", re.sub(r"data:image/jpeg;base64,[^\"]+", "", text)) == []
    assert {tag for tag, _ in reader.elements} & {"script", "link", "iframe", "object", "base"} == set()
    assert all(img["src"].startswith("data:image/jpeg;base64,") for img in reader.all("img"))
    policy = [meta["content"] for meta in reader.all("meta") if "http-equiv" in meta]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    for _, attributes in reader.elements:
        assert attributes.keys().isdisjoint({"href", "srcset", "onload", "onerror", "onclick"})


def test_the_gallery_shows_the_surest_right_and_the_surest_wrong(example):
    """Of each class that has photographs; where nothing is wrong, it says so."""
    reader = Reader(page(example))
    assert len(reader.all("img")) == 3
    gallery = reader.text.partition("Best and worst photographs")[2]
    for part in (
        "✓ a 0.900",
        "a/sure.jpg",
        "✗ taken for b 0.700",
        "a/wrong.jpg",
        "✓ b 0.800",
        "none is wrong",
    ):
        assert part in gallery
    assert "a/unsure.jpg" not in gallery


def test_thumbnails_are_small_and_whole(example, tmp_path):
    """640x480 becomes 160x120; what is smaller stays as it is."""
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), draw_frame(1, 40, 60))
    images = Reader(page(example)).all("img")
    images += Reader(page(evaluation([(small, "a/s.png", 0, [0.8, 0.1, 0.1])]))).all("img")
    shapes = []
    for img in images:
        data = base64.b64decode(img["src"].partition(",")[2], validate=True)
        shapes.append(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape)
    assert shapes == [(THUMBNAIL * 3 // 4, THUMBNAIL, 3)] * 3 + [(60, 40, 3)]


def test_a_photograph_that_is_gone_leaves_a_gap(tmp_path):
    """Deleted since it was classified: the page is written all the same."""
    reader = Reader(page(evaluation([(tmp_path / "gone.jpg", "a/gone.jpg", 0, [0.8, 0.1, 0.1])])))
    assert "no longer there" in reader.text
    assert reader.all("img") == []


def test_names_cannot_write_the_page(photo):
    """Labels, file names and folders are text, whatever is in them."""
    evil = '<script>alert("1")</script>&amp;'
    name = f"{evil}/\x1b[2J\udcff.jpg"
    labels = (evil, "b", "c")
    text = page(evaluation([(photo, name, 0, [0.8, 0.1, 0.1])], labels, skipped=((evil, 3),)))
    text.encode()
    reader = Reader(text)
    assert reader.all("script") == []
    assert evil in reader.text
    assert r"\x1b[2J\udcff.jpg" in reader.text


@pytest.mark.slow
def test_a_thousand_classes_make_no_monstrous_page(photo):
    """The most confused classes alone are in the matrix and the gallery, and the page says so."""
    k = 1000
    rng = np.random.default_rng(0)
    rows = rng.random((3 * k, k), np.float32)
    answers = [
        (photo, f"{i % k}/{i}.jpg", i % k, row) for i, row in enumerate(rows / rows.sum(1, keepdims=True))
    ]
    text = page(evaluation(answers, tuple(f"label {i}" for i in range(k))))
    reader = Reader(text)
    assert len(text) < 1_500_000
    assert len(reader.all("tr")) == 2 + 1 + k  # two heads, all classes, the sum
    assert f"The {MAX_CLASSES_SHOWN} most confused of 1000 classes" in reader.text
    assert "(others)" in reader.text
    cells = [
        rect for rect in reader.all("rect") if rect["class"] in ("right", "wrong", "empty") and "rx" in rect
    ]
    assert len(cells) == MAX_CLASSES_SHOWN * (MAX_CLASSES_SHOWN + 1)
    assert len(reader.all("section")) == MAX_CLASSES_SHOWN


def test_every_count_of_the_matrix_is_in_the_plot(example):
    """With its words in the tooltip; cells without photographs stay empty."""
    text = page(example)
    tips = re.findall(r"<title>(\w) for (\w): (\d+) of (\d+)</title>", text)
    assert tips == [("a", "a", "2", "3"), ("b", "a", "1", "3"), ("b", "b", "1", "1")]
    assert len([rect for rect in Reader(text).all("rect") if rect["class"] == "empty"]) == 6


def test_what_was_left_out_is_said(photo):
    """Skipped folders, classes without photographs, and that only some were chosen."""
    answers = [(photo, "a/1.jpg", 0, [0.8, 0.1, 0.1])]
    shown = evaluation(answers, limit=1, skipped=(("other", 3),), mapping={"other": None})
    text = Reader(page(shown)).text
    for part in (
        "Skipped, as --map says: other, 3 images.",
        "No photographs of b, c: left out of macro F1.",
        "1 at most, evenly spread of 1 in photos",
        "other = skipped",
    ):
        assert part in text
